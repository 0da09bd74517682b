//! `keyloom config show`: the settings of commands, each with where it comes from.

use keyloom_program::{
    config,
    settings::{Origin, Shown},
};

use crate::{
    cli::{CLUSTER, ConfigCommand, Form, Place},
    error::Failure,
    open, text,
    watch::Watch,
};

/// Shows the configuration.
pub(crate) fn run(command: ConfigCommand, watch: &Watch) -> Result<(), Failure> {
    let ConfigCommand::Show(arguments) = command;
    let (settings, layers) = open::layered(&arguments.place)?;
    let listing = layers.listing(&settings);
    let settings = listing.map_err(|error| Failure::failed(format!("{error:#}")))?;
    let listing: Vec<_> = cluster(&arguments.place).into_iter().chain(settings).collect();
    watch.end();
    text::print(&match arguments.print.format {
        Form::Table => config::table(&listing),
        Form::Json => config::json(&listing),
    })
}

/// The cluster that jobs run on, which is no setting but stands beside them.
fn cluster(place: &Place) -> Option<Shown> {
    let address = place.cluster()?;
    let in_environment = std::env::var_os(CLUSTER).is_some_and(|value| value == *address);
    let origin = match in_environment {
        true => Origin::Environment(CLUSTER.to_owned()),
        false => Origin::Flag("--cluster".to_owned()),
    };
    Some(Shown { setting: "cluster".to_owned(), value: address.into(), origin })
}
