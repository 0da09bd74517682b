//! From a request to a job: planned here, in a session of whoever asks, and left to itself.

use std::{
    mem,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use keyloom_client::{
    JobOptions, Session, datafusion::dataframe::DataFrame, with_group_keys, with_join_path,
    with_shuffle,
};
use keyloom_common::{
    Error, ErrorKind, JobId, Result,
    report::{JobInfo, JobState},
    rpc::Identity,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Api, request::JobRequest};

/// Where a statement's paths are from: none is relative.
const ROOT: &str = "/";

/// Hands a job in, unless one of its id is known, and says what is known of it then, and what it
/// asks for in vain.
///
/// # Errors
/// What is wrong with it, or why it is not taken.
pub(super) async fn submit(
    api: Arc<Api>,
    caller: Identity,
    request: JobRequest,
) -> Result<(JobInfo, Vec<String>)> {
    let background = Arc::clone(&api.background);
    let submitting = background.handle().spawn(async move {
        let session = api.session(&caller)?;
        if let Some(id) = request.id
            && let Some(known) = known(&session, id, &caller).await?
        {
            return Ok((known, Vec::new()));
        }
        let warnings = heard(&session);
        let query = plan(&session, &request, api.settings.store_bytes).await?;
        let job = session.submit_with(query, options(request)).await?;
        let info = session.job(job.detach()?.id()).await?;
        let mut warnings = warnings.lock().unwrap_or_else(PoisonError::into_inner);
        Ok::<_, Error>((info, mem::take(&mut *warnings)))
    });
    // Who does not wait for it any more does not want it, or asks again for the id that it gave.
    AbortOnDropHandle::new(submitting).await.map_err(Error::from_join)?
}

/// What a session warns of from now on.
fn heard(session: &Session) -> Arc<Mutex<Vec<String>>> {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    session.tell_warnings(move |words| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(words.to_owned());
    });
    warnings
}

/// What is known of a job that was handed in before, unless it left nothing and runs anew.
async fn known(session: &Session, id: JobId, caller: &Identity) -> Result<Option<JobInfo>> {
    match session.job(id).await {
        // Not to an operator either: what it hands in would be answered with another's job.
        Ok(info) if info.owner != caller.to_string() => {
            Err(Error::permission_denied(format!("job {id} is another client's")))
        }
        Ok(info) if info.state == JobState::Interrupted && info.output.is_none() => Ok(None),
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn options(request: JobRequest) -> JobOptions {
    JobOptions {
        id: request.id,
        name: request.name,
        statement: Some(request.sql),
        detached: true,
        resumes: request.resumes,
        max_misses: request.max_misses,
        output: request.output,
        ..JobOptions::default()
    }
}

/// Registers inputs, attaches stores, and plans the statement.
async fn plan(session: &Session, request: &JobRequest, store_bytes: u64) -> Result<DataFrame> {
    let (stores, values) = (request.stores()?, request.values()?);
    for (name, input) in &request.inputs {
        let registered = session.register(name, input.clone()).await;
        registered.map_err(|error| error.context(format!("table '{name}'")))?;
    }
    // The only store is meant, if none is named.
    let only = stores.keys().next().filter(|_| stores.len() == 1).cloned();
    for (alias, store) in stores {
        let most = ("http_jobs.store_bytes", store_bytes);
        session.attach_described(&alias, store, most).await?;
    }
    if let Some(current) = request.current_store.clone().or(only) {
        // It may be one of the cluster's.
        session.find_kv(&current).await?;
        session.set_kv(current.as_str())?;
    }
    let query = session.sql_in_with(Path::new(ROOT), &request.sql, &values).await?;
    let query = match request.join_path {
        Some(path) => with_join_path(query, path),
        None => query,
    };
    let query = match request.group_keys {
        Some(group_keys) => with_group_keys(query, group_keys),
        None => query,
    };
    with_shuffle(query, request.shuffle())
}
