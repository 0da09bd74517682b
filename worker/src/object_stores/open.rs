//! Makes an object store of a URL and options.

use std::{fmt, sync::Arc};

use keyloom_common::{Error, Result, error::redact};
use object_store::{
    ClientConfigKey, ObjectStore, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey},
    http::HttpBuilder,
    local::LocalFileSystem,
    multipart::MultipartStore,
};
use url::Url;

use super::{
    options::{Family, Options, Profile},
    remote::{Opening, Remote},
};
use crate::store::Patience;

pub(super) const S3: Family = Family {
    name: "S3",
    prefix: "AWS_",
    variables: &[],
    together: &[
        &["aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_skip_signature"],
        &["aws_endpoint", "aws_endpoint_url_s3"],
    ],
    common: "aws_endpoint, aws_region, aws_access_key_id, aws_secret_access_key, allow_http",
};

const GOOGLE: Family = Family {
    name: "Google Cloud Storage",
    prefix: "GOOGLE_",
    variables: &[("SERVICE_ACCOUNT", "google_service_account")],
    together: &[&[
        "google_service_account",
        "google_service_account_key",
        "google_application_credentials",
        "google_skip_signature",
    ]],
    common: "google_service_account, google_service_account_key, google_application_credentials",
};

const AZURE: Family = Family {
    name: "Azure",
    prefix: "AZURE_",
    variables: &[("IDENTITY_ENDPOINT", "azure_msi_endpoint")],
    together: &[&[
        "azure_storage_account_key",
        "azure_storage_sas_key",
        "azure_storage_token",
        "azure_storage_client_id",
        "azure_storage_client_secret",
        "azure_skip_signature",
    ]],
    common: "azure_storage_account_name, azure_storage_account_key, azure_storage_sas_token",
};

const HTTP: Family = Family {
    name: "web servers",
    prefix: "",
    variables: &[],
    together: &[],
    common: "headers.…, timeout, connect_timeout, proxy_url, allow_invalid_certificates",
};

/// Who keeps the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Local,
    S3,
    Google,
    Azure,
    Http,
}

impl Provider {
    /// The provider of a URL, if its scheme is known.
    pub(super) fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "file" => Some(Self::Local),
            "s3" | "s3a" => Some(Self::S3),
            "gs" => Some(Self::Google),
            "az" | "abfs" | "abfss" => Some(Self::Azure),
            "http" | "https" => Some(Self::Http),
            _ => None,
        }
    }
}

/// An open object store, and what is written to it by several processes.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Uploads that one process begins and another completes. Local files and web servers have
    /// none.
    pub(crate) uploads: Option<Arc<dyn MultipartStore>>,
}

impl Opened {
    /// A store that has no such uploads.
    pub(crate) fn without_uploads(store: impl ObjectStore) -> Self {
        Self { store: Arc::new(store), uploads: None }
    }

    /// A store that has.
    pub(crate) fn with_uploads(store: impl ObjectStore + MultipartStore) -> Self {
        let store = Arc::new(store);
        Self { store: Arc::clone(&store) as Arc<dyn ObjectStore>, uploads: Some(store) }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.store).finish()
    }
}

/// The object store of a URL, which has no path.
///
/// # Errors
/// `invalid` if the URL or an option is not what its provider takes.
pub(super) fn open(url: &Url, profile: &Profile<'_>, patience: Patience) -> Result<Opened> {
    let provider =
        Provider::of(url).ok_or_else(|| Error::internal("an unknown scheme was kept"))?;
    match provider {
        Provider::Local => Ok(Opened::without_uploads(LocalFileSystem::new())),
        Provider::S3 => s3(url, profile, patience),
        Provider::Google => google(url, profile, patience),
        Provider::Azure => azure(url, profile, patience),
        Provider::Http => http(url, profile, patience),
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn bucket(url: &Url) -> Result<&str> {
    url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| {
        Error::invalid(format!("a {}:// URL starts with the name of a bucket", url.scheme()))
    })
}

fn s3(url: &Url, profile: &Profile<'_>, patience: Patience) -> Result<Opened> {
    let options: Options<AmazonS3ConfigKey> = Options::new(&S3, profile, environment(), patience)?;
    let mut client = options.client.clone();
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options.client.clone())
        .with_retry(options.retry.clone());
    for (key, value) in &options.known {
        if let AmazonS3ConfigKey::Client(key) = key {
            client = client.with_config(*key, value);
        }
        builder = builder.with_config(*key, value);
    }
    check_encrypted(&options)?;
    let bucket = bucket(url)?;
    let builder = builder.with_bucket_name(bucket);
    let has = |key| options.known.contains_key(&key);
    let has_region = has(AmazonS3ConfigKey::Region) || has(AmazonS3ConfigKey::DefaultRegion);
    let has_endpoint = has(AmazonS3ConfigKey::Endpoint) || has(AmazonS3ConfigKey::S3Endpoint);
    let store = match has_region || has_endpoint {
        true => Opening::Done(Opened::with_uploads(builder.build().map_err(refused(&options))?)),
        // Lance asks for it, too, so that a profile does for both.
        false => Opening::S3InSomeRegion {
            builder: Box::new(builder),
            bucket: bucket.to_owned(),
            client: Box::new(client),
        },
    };
    Ok(Opened::with_uploads(Remote::new(store, options.scrub, profile)))
}

/// Refuses what a client would refuse without a reason.
fn check_encrypted(options: &Options<AmazonS3ConfigKey>) -> Result<()> {
    let value = |key: &AmazonS3ConfigKey| options.known.get(key);
    let endpoint = value(&AmazonS3ConfigKey::S3Endpoint).or(value(&AmazonS3ConfigKey::Endpoint));
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.starts_with("http://")) else {
        return Ok(());
    };
    match value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)) {
        Some(allowed) if !matches!(allowed.to_ascii_lowercase().as_str(), "false" | "0") => Ok(()),
        _ => Err(Error::invalid(format!(
            "the endpoint {} is not encrypted; allow_http = \"true\" allows it",
            redact(endpoint.trim_end_matches('/')).trim_end_matches('/')
        ))),
    }
}

fn google(url: &Url, profile: &Profile<'_>, patience: Patience) -> Result<Opened> {
    let options: Options<GoogleConfigKey> =
        Options::new(&GOOGLE, profile, environment(), patience)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(options.client.clone())
        .with_retry(options.retry.clone());
    for (key, value) in &options.known {
        builder = builder.with_config(*key, value);
    }
    if let Some(token) = &options.token {
        let credential = GcpCredential { bearer: token.clone() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    }
    let store = builder.with_bucket_name(bucket(url)?).build().map_err(refused(&options))?;
    let store = Opening::Done(Opened::with_uploads(store));
    Ok(Opened::with_uploads(Remote::new(store, options.scrub, profile)))
}

fn azure(url: &Url, profile: &Profile<'_>, patience: Patience) -> Result<Opened> {
    let options: Options<AzureConfigKey> = Options::new(&AZURE, profile, environment(), patience)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(options.client.clone())
        .with_retry(options.retry.clone());
    for (key, value) in &options.known {
        builder = builder.with_config(*key, value);
    }
    let store = builder.with_url(url.as_str()).build().map_err(refused(&options))?;
    let store = Opening::Done(Opened::with_uploads(store));
    Ok(Opened::with_uploads(Remote::new(store, options.scrub, profile)))
}

fn http(url: &Url, profile: &Profile<'_>, patience: Patience) -> Result<Opened> {
    let options: Options<ClientConfigKey> =
        Options::new(&HTTP, profile, Vec::new().into_iter(), patience)?;
    let mut client = options.client.clone().with_allow_http(true);
    for (key, value) in &options.known {
        client = client.with_config(*key, value);
    }
    let store = HttpBuilder::new()
        .with_url(url.as_str())
        .with_client_options(client)
        .with_retry(options.retry.clone())
        .build()
        .map_err(refused(&options))?;
    let store = Opening::Done(Opened::without_uploads(store));
    Ok(Opened::without_uploads(Remote::new(store, options.scrub, profile)))
}

/// Why no store can be made of options. Nothing was asked of a server yet.
fn refused<K>(options: &Options<K>) -> impl FnOnce(object_store::Error) -> Error {
    |error| options.scrub.clean(Error::invalid(error.to_string()))
}
