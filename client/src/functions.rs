//! `kv_get`, `kv_batch_get` and `kv_exists` as expressions.

use datafusion::{
    logical_expr::{Cast, Expr, TryCast, expr::ScalarFunction},
    prelude::{lit, named_struct},
};
use keyloom_common::{
    Result,
    functions::{CallOptions, Function, KvCall, KvFunction, OnError},
    misses::MaxMisses,
    store::KeyColumns,
};

use crate::session::Session;

/// A key: an expression, or a column by its name.
#[derive(Clone, Debug)]
pub struct Key(Expr);

impl From<Expr> for Key {
    fn from(expr: Expr) -> Self {
        Self(expr)
    }
}

impl From<&str> for Key {
    fn from(column: &str) -> Self {
        // As it is written: SQL would fold its case.
        Self(datafusion::common::Column::from_name(column).into())
    }
}

impl Key {
    pub(crate) fn into_expr(self) -> Expr {
        self.0
    }

    /// The key with its parts, if these are columns, under the columns' names, which DataFusion
    /// would call `c0`, `c1`, ….
    fn with_named_parts(self) -> Self {
        match &self.0 {
            Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "struct" => {
                let part = |part: &Expr| Some([lit(column(part)?), part.clone()]);
                let parts: Option<Vec<_>> = args.iter().map(part).collect();
                parts.map_or(self.clone(), |parts| Self(named_struct(parts.concat())))
            }
            _ => self,
        }
    }

    /// The columns that it consists of, if it consists of nothing else.
    fn columns(&self) -> Option<KeyColumns> {
        let names = match &self.0 {
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                let names = args.iter().step_by(2).filter(|_| func.name() == "named_struct");
                let name = |name: &Expr| match name {
                    Expr::Literal(name, _) => name.try_as_str().flatten().map(ToOwned::to_owned),
                    _ => None,
                };
                names.map(name).collect::<Option<_>>()?
            }
            plain => vec![column(plain)?],
        };
        KeyColumns::try_new(names).ok()
    }
}

/// The name of a plain column. A cast changes its type and not what it is.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => column(expr),
        _ => None,
    }
}

/// A call under construction. [`KvExpr::build`] finds its store and checks it.
#[derive(Clone, Debug)]
#[must_use = "call build() for the expression"]
pub struct KvExpr {
    session: Session,
    function: Function,
    key: Key,
    source: Option<String>,
    options: CallOptions,
    max_misses: Option<MaxMisses>,
}

impl Session {
    /// Looks a key up and answers a struct of the row's columns, null for a null key.
    pub fn kv_get(&self, key: impl Into<Key>) -> KvExpr {
        KvExpr::new(self.clone(), Function::Get, key.into())
    }

    /// Looks lists of keys up and answers lists of structs of the same length and order.
    pub fn kv_batch_get(&self, keys: impl Into<Key>) -> KvExpr {
        KvExpr::new(self.clone(), Function::BatchGet, keys.into())
    }

    /// Looks a key up and answers a list of structs, of all rows that hold it whatever the store
    /// says about such keys, null for a null key.
    pub fn kv_get_all(&self, key: impl Into<Key>) -> KvExpr {
        KvExpr::new(self.clone(), Function::GetAll, key.into())
    }

    /// Answers whether the store holds a key, null for a null key.
    pub fn kv_exists(&self, key: impl Into<Key>) -> KvExpr {
        KvExpr::new(self.clone(), Function::Exists, key.into())
    }
}

impl KvExpr {
    fn new(session: Session, function: Function, key: Key) -> Self {
        let (source, options, max_misses) = (None, CallOptions::default(), None);
        Self { session, function, key, source, options, max_misses }
    }

    /// The alias of the store; the current store's if not given. A store of the cluster's catalog
    /// is opened before, by [`Session::find_kv`].
    pub fn source(mut self, alias: impl Into<String>) -> Self {
        self.source = Some(alias.into());
        self
    }

    /// The columns wanted, in this order; all if not given.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.options.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// What a missing key means. Default [`OnError::Raise`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.options.on_error = on_error;
        self
    }

    /// The most rows, or elements of their lists, that may miss their keys: missing keys give null,
    /// and more of them fail the job. It goes before `on_error`.
    pub fn max_misses(mut self, most: MaxMisses) -> Self {
        self.max_misses = Some(most);
        self
    }

    /// The most keys of one request to the store. Default 1000 for `kv_batch_get`; a batch of rows
    /// for the others.
    pub fn batch_size(mut self, keys: usize) -> Self {
        self.options.batch_size = Some(keys);
        self
    }

    /// The expression.
    ///
    /// # Errors
    /// `not_found` if there is no such store, or none is current; `invalid` if the store has no
    /// such columns, `batch_size` is 0, nothing says what the store's key is, or `kv_exists` has a
    /// bound on missing keys.
    pub fn build(self) -> Result<Expr> {
        let key = self.key.with_named_parts();
        let attached = self.session.source(self.source.as_deref())?;
        let store = self.function.resolve(&attached, key.columns().as_ref())?;
        let mut options = self.options;
        if let Some(most) = self.max_misses {
            options.on_error = OnError::AtMost(most);
        }
        let call = KvCall::try_new(self.function, store, options)?;
        Ok(KvFunction::expr(call, key.0))
    }
}

/// Columns as SQL names them: calls without a name are called as their stores, unless another of
/// the columns is called so. By itself, DataFusion calls them as they are written.
///
/// ```no_run
/// # use keyloom_client::{Session, datafusion::prelude::col, functions::name_calls};
/// # async fn example(session: &Session) -> Result<(), Box<dyn std::error::Error>> {
/// let items = session.read("items.parquet").await?;
/// let product = session.kv_get("item_id").source("products").build()?;
/// // The columns are n and products.
/// let enriched = items.select(name_calls(vec![col("n"), product]))?;
/// # Ok(())
/// # }
/// ```
pub fn name_calls(columns: Vec<Expr>) -> Vec<Expr> {
    let store = |column: &Expr| asked_store(column).map(ToOwned::to_owned);
    let stores: Vec<Option<String>> = columns.iter().map(store).collect();
    let own_name = |column: &Expr| column.qualified_name().1;
    let names = columns.iter().zip(&stores);
    let names: Vec<String> =
        names.map(|(column, store)| store.clone().unwrap_or_else(|| own_name(column))).collect();
    let is_free = |store: &String| names.iter().filter(|name| *name == store).count() == 1;
    let named = columns.into_iter().zip(stores).map(|(column, store)| match store {
        Some(store) if is_free(&store) => column.alias(store),
        _ => column,
    });
    named.collect()
}

/// The alias of the store that an expression asks which is a call, and nothing else.
pub fn asked_store(expr: &Expr) -> Option<&str> {
    let Expr::ScalarFunction(ScalarFunction { func, .. }) = expr else { return None };
    let function = func.inner().downcast_ref::<KvFunction>()?;
    Some(function.call().store().alias.as_str())
}
