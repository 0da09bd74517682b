//! A run: every variant of every workload, several times, each in a process of its own.
//!
//! The variants of a workload take turns, so that what else the machine does is shared by all. What
//! was measured is shown and written after each workload, so that a run which breaks off keeps it.

use std::{path::PathBuf, process::Stdio, slice, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tokio::process::Command;

use crate::{
    data::{Data, Scale},
    measure::Measurement,
    peers,
    report::{chart, json, table, targets},
    results::Results,
    s3::Server,
    workloads::{self, Variant, Workload},
};

/// What to run, and what to make of it.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct Settings {
    /// How large stores and request tables are, against the full size
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where the data is, or is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "target/bench/data")]
    pub(crate) data: PathBuf,
    /// What the data is made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times each variant is measured, but those that take minutes once
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: u32,
    /// Only these workloads [default: all; see --list]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    workloads: Vec<String>,
    /// Only these variants [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    #[serde(skip)]
    variants: Vec<Variant>,
    /// How long the server of the workload `s3` waits before each answer
    #[arg(long, value_name = "MS", default_value_t = 30)]
    latency_ms: u64,
    /// Also measure joins of Daft and Polars and a script over pylance
    #[arg(long)]
    peers: bool,
    /// Write everything that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a chart as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Show the workloads, and do nothing
    #[arg(long)]
    #[serde(skip)]
    list: bool,
}

/// Measures and reports.
pub(crate) async fn run(mut settings: Settings) -> Result<()> {
    if settings.list {
        for workload in workloads::all() {
            println!("{:14} {}", workload.name, workload.about);
        }
        return Ok(());
    }
    ensure!(settings.scale > 0.0, "--scale must be above 0");
    settings.data = std::path::absolute(&settings.data)?;
    let workloads = settings.chosen()?;
    if settings.peers {
        peers::set_up().await?;
    }
    Data::at(&settings.data).make(Scale(settings.scale), settings.seed, &workloads).await?;

    let mut results = Results::default();
    for workload in &workloads {
        settings.measure_workload(workload, &mut results).await?;
        if settings.peers {
            peers::measure(&settings, workload, &mut results).await?;
        }
        eprintln!("{}", table::render(&results, slice::from_ref(workload)));
        settings.write_files(&results)?;
    }
    println!("{}", table::render(&results, &workloads));
    println!("targets\n{}", targets::render(&targets::check(&results)));
    if (settings.scale - 1.0).abs() > f64::EPSILON {
        println!("targets are for --scale 1; this was --scale {}", settings.scale);
    }
    Ok(())
}

impl Settings {
    fn chosen(&self) -> Result<Vec<Workload>> {
        if self.workloads.is_empty() {
            return Ok(workloads::all());
        }
        self.workloads.iter().map(|name| Workload::named(name)).collect()
    }

    /// Writes the files that are wanted, with what has been measured so far.
    fn write_files(&self, results: &Results) -> Result<()> {
        if let Some(path) = &self.json {
            json::write(path, self, results, &targets::check(results))?;
        }
        if let Some(path) = &self.chart {
            chart::write(path, results)?;
        }
        Ok(())
    }

    async fn measure_workload(&self, workload: &Workload, results: &mut Results) -> Result<()> {
        let server = match workload.name {
            "s3" => Some(Server::start(&self.data, Duration::from_millis(self.latency_ms)).await?),
            _ => None,
        };
        let endpoint = server.as_ref().map(Server::endpoint);
        let chosen =
            |variant: &Variant| self.variants.is_empty() || self.variants.contains(variant);
        let variants: Vec<_> = workload.variants.iter().copied().filter(chosen).collect();
        let mut strategies = None;
        if variants.contains(&Variant::Raw) {
            eprintln!("{}: finding the best raw calls", workload.name);
            let choice =
                self.measure(workload, Variant::Raw, endpoint.as_deref(), None, false).await?;
            let choice = choice.strategies.context("no strategies were chosen")?;
            strategies = Some(serde_json::to_string(&choice)?);
            results.strategies.insert(workload.name.to_owned(), choice);
        }
        let mut digest = None;
        let runs = self.runs.min(workload.most_runs);
        for round in 0..runs {
            for variant in &variants {
                eprintln!("{}: {}, {} of {runs}", workload.name, variant.name(), round + 1);
                let measured = self.measure(
                    workload,
                    *variant,
                    endpoint.as_deref(),
                    strategies.as_deref(),
                    round == 0,
                );
                let measured = measured.await?;
                if let Some(given) = measured.digest {
                    ensure!(
                        *digest.get_or_insert(given) == given,
                        "{}: {} answers other rows than the variant before",
                        workload.name,
                        variant.name()
                    );
                }
                results.add(workload.name, &variant.name(), measured);
            }
        }
        Ok(())
    }

    /// Makes one measurement in a process of its own.
    async fn measure(
        &self,
        workload: &Workload,
        variant: Variant,
        endpoint: Option<&str>,
        strategies: Option<&str>,
        digest: bool,
    ) -> Result<Measurement> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["measure", "--workload", workload.name, "--variant", &variant.name()]);
        command.arg("--data").arg(&self.data);
        if let Some(endpoint) = endpoint {
            command.args(["--endpoint", endpoint]);
        }
        if let Some(strategies) = strategies.filter(|_| variant == Variant::Raw) {
            command.args(["--strategies", strategies]);
        }
        if digest {
            command.arg("--digest");
        }
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let failed = || format!("measuring {} of {} failed", variant.name(), workload.name);
        let output = command.output().await.with_context(failed)?;
        ensure!(output.status.success(), "{}: {}", failed(), output.status);
        serde_json::from_slice(&output.stdout).with_context(failed)
    }
}
