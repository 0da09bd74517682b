//! Rows as the bytes of a file, which are taken as they come.

use arrow::{
    array::RecordBatch,
    ipc::{
        CompressionType,
        writer::{FileWriter, IpcWriteOptions},
    },
};
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use datafusion::{
    error::DataFusionError,
    parquet::{
        arrow::ArrowWriter, basic::Compression as ParquetCompression, errors::ParquetError,
        file::properties::WriterProperties,
    },
};
use keyloom_common::{
    Error, Result,
    formats::Lines,
    output::{Compression, FileFormat},
};
use tokio::io::AsyncWriteExt;

use super::shape::Shape;

/// A file that is being encoded.
pub(super) enum Encoder {
    Parquet { writer: Box<ArrowWriter<Vec<u8>>>, row_group_bytes: usize },
    Arrow(Box<FileWriter<Vec<u8>>>),
    Text { lines: Lines, text: Text },
}

/// Text, compressed or not. What is compressed goes to memory: nobody waits here.
pub(super) enum Text {
    Plain(Vec<u8>),
    Gzip(Box<GzipEncoder<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<Vec<u8>>>),
}

impl Encoder {
    /// Begins a file.
    ///
    /// # Errors
    /// If the format cannot hold the columns, which is looked at before.
    pub(super) async fn begin(shape: &Shape, row_group_bytes: u64) -> Result<Self> {
        let (schema, compression) = (shape.schema(), shape.compression());
        if let Some(lines) = shape.lines() {
            let mut text = Text::new(compression);
            text.push(&lines.head(schema)).await?;
            return Ok(Self::Text { lines, text });
        }
        match shape.files.format {
            FileFormat::Arrow => {
                let options =
                    IpcWriteOptions::default().try_with_compression(arrow(compression))?;
                let writer = FileWriter::try_new_with_options(Vec::new(), schema, options)?;
                Ok(Self::Arrow(Box::new(writer)))
            }
            _ => {
                let row_group_bytes = row_group_bytes.min(shape.files.target_file_bytes);
                let properties = WriterProperties::builder()
                    .set_compression(parquet(compression))
                    // Lists and maps have their parts under the names that Parquet gives them.
                    .set_coerce_types(true)
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
                Ok(Self::Parquet {
                    writer: Box::new(writer.map_err(of_parquet)?),
                    row_group_bytes: usize::try_from(row_group_bytes).unwrap_or(usize::MAX),
                })
            }
        }
    }

    /// Appends rows as they stand in the file.
    ///
    /// # Errors
    /// `invalid` if the format cannot hold a value.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet { writer, row_group_bytes } => {
                writer.write(batch).map_err(of_parquet)?;
                match writer.in_progress_size() >= *row_group_bytes {
                    true => writer.flush().map_err(of_parquet),
                    false => Ok(()),
                }
            }
            Self::Arrow(writer) => Ok(writer.write(batch)?),
            Self::Text { lines, text } => {
                let mut rows = Vec::new();
                lines.rows(batch, &mut rows)?;
                text.push(&rows).await
            }
        }
    }

    /// Ends what is held back for rows to come, as far as there is such.
    pub(super) fn cut(&mut self) -> Result<()> {
        match self {
            Self::Parquet { writer, .. } => writer.flush().map_err(of_parquet),
            Self::Arrow(_) | Self::Text { .. } => Ok(()),
        }
    }

    /// Ends the file; the rest of its bytes can be taken then.
    pub(super) async fn finish(&mut self) -> Result<()> {
        match self {
            Self::Parquet { writer, .. } => {
                writer.finish().map_err(of_parquet)?;
                Ok(())
            }
            Self::Arrow(writer) => Ok(writer.finish()?),
            Self::Text { text, .. } => text.finish().await,
        }
    }

    /// Takes the bytes that there are since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Parquet { writer, .. } => writer.inner_mut(),
            Self::Arrow(writer) => writer.get_mut(),
            Self::Text { text, .. } => text.bytes(),
        })
    }

    /// About how many bytes it holds.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Parquet { writer, .. } => writer.memory_size() as u64,
            Self::Arrow(_) | Self::Text { .. } => 0,
        }
    }

    /// About how many bytes there will be of the rows that it holds.
    pub(super) fn unfinished(&self) -> u64 {
        match self {
            Self::Parquet { writer, .. } => writer.in_progress_size() as u64,
            Self::Arrow(_) | Self::Text { .. } => 0,
        }
    }
}

impl Text {
    fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(Box::new(GzipEncoder::new(Vec::new()))),
            Compression::Zstd => Self::Zstd(Box::new(ZstdEncoder::new(Vec::new()))),
            _ => Self::Plain(Vec::new()),
        }
    }

    async fn push(&mut self, text: &[u8]) -> Result<()> {
        let pushed = match self {
            Self::Plain(bytes) => {
                bytes.extend_from_slice(text);
                Ok(())
            }
            Self::Gzip(encoder) => encoder.write_all(text).await,
            Self::Zstd(encoder) => encoder.write_all(text).await,
        };
        pushed.map_err(compressing)
    }

    async fn finish(&mut self) -> Result<()> {
        let finished = match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.shutdown().await,
            Self::Zstd(encoder) => encoder.shutdown().await,
        };
        finished.map_err(compressing)
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

fn compressing(error: std::io::Error) -> Error {
    Error::internal(format!("rows cannot be compressed: {error}"))
}

fn of_parquet(error: ParquetError) -> Error {
    Error::from(DataFusionError::ParquetError(Box::new(error)))
}

fn arrow(compression: Compression) -> Option<CompressionType> {
    match compression {
        Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        Compression::Zstd => Some(CompressionType::ZSTD),
        Compression::None | Compression::Snappy | Compression::Gzip => None,
    }
}

fn parquet(compression: Compression) -> ParquetCompression {
    match compression {
        Compression::None => ParquetCompression::UNCOMPRESSED,
        Compression::Snappy => ParquetCompression::SNAPPY,
        Compression::Lz4 => ParquetCompression::LZ4_RAW,
        Compression::Zstd => ParquetCompression::ZSTD(Default::default()),
        Compression::Gzip => ParquetCompression::GZIP(Default::default()),
    }
}
