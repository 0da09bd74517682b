//! What one planning learns of the datasets that it scans: each is looked at once, so that all
//! scans of it in one plan read one version.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::{catalog::Session, execution::context::SessionState};
use keyloom_common::{
    Result,
    input::{InputDescription, InputSpec},
};
use tokio::sync::OnceCell;

/// A description that is there or on its way.
type Described = Arc<OnceCell<Arc<InputDescription>>>;

/// The datasets that were looked at while a plan is made.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    known: Mutex<Vec<(InputSpec, Described)>>,
}

impl Scanned {
    /// The state for one planning.
    pub(super) fn remembering(state: &SessionState) -> SessionState {
        let mut state = state.clone();
        state.config_mut().set_extension(Arc::new(Self::default()));
        state
    }

    /// What is known of a dataset in this planning; it is looked at if that is nothing.
    pub(crate) async fn describe<F>(
        planning: &dyn Session,
        spec: &InputSpec,
        look: impl FnOnce() -> F,
    ) -> Result<Arc<InputDescription>>
    where
        F: Future<Output = Result<InputDescription>>,
    {
        let Some(scanned) = planning.config().get_extension::<Self>() else {
            return look().await.map(Arc::new);
        };
        let cell = scanned.cell(spec);
        let described = cell.get_or_try_init(|| async { look().await.map(Arc::new) });
        described.await.cloned()
    }

    fn cell(&self, spec: &InputSpec) -> Described {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = known.iter().find(|(other, _)| other == spec) {
            return Arc::clone(cell);
        }
        let cell = Described::default();
        known.push((spec.clone(), Arc::clone(&cell)));
        cell
    }
}
