//! Statements whose rows workers shuffle: the same rows as without.

use anyhow::Result;
use keyloom_client::{Session, Shuffle};

use super::{LISTENS, LOGGED, connect, rows_of, took_part, was_shuffled, why};
use crate::harness::{Cluster, batch, ints};

/// Queries whose rows have an order.
pub(super) const QUERIES: [&str; 6] = [
    "SELECT kv_get(customer, ['name'], on_error => 'null', source => 'customers')['name'] AS name, \
     count(*) AS n, sum(amount) AS amount FROM orders GROUP BY 1 ORDER BY name",
    "SELECT DISTINCT customer FROM orders ORDER BY customer",
    "SELECT o.id, c.city FROM orders o JOIN cities c ON o.customer = c.customer ORDER BY o.id",
    "SELECT o.id, c.city FROM orders o LEFT JOIN cities c ON o.customer = c.customer + 1 \
     ORDER BY o.id LIMIT 50",
    "SELECT id, sum(amount) OVER (PARTITION BY customer ORDER BY id) AS s FROM orders ORDER BY id",
    "SELECT customer, n, coalesce(CASE WHEN customer = 10 THEN 1 END, 100 / (customer - 10)) AS x, \
     kv_get(customer, ['name'], on_error => 'null', source => 'customers')['name'] AS name \
     FROM (SELECT customer, count(*) AS n FROM orders GROUP BY customer) AS g ORDER BY customer",
];

/// Queries that shuffle rows, and need all rows of something else at one place; `few` has one
/// partition. Their rows have an order.
const GATHERING: [&str; 7] = [
    "SELECT count(*) AS n FROM (SELECT customer FROM orders GROUP BY customer \
     UNION ALL SELECT count(*) FROM few) AS all_of_them GROUP BY customer < 0",
    "SELECT o.id, w.n FROM orders o \
     JOIN (SELECT customer, count(*) OVER () AS n FROM cities) w ON o.customer = w.customer \
     ORDER BY o.id",
    "SELECT count(*) AS n \
     FROM (SELECT DISTINCT customer FROM (SELECT customer FROM cities OFFSET 4000) AS c) AS d",
    "SELECT c.city, q.id FROM (SELECT city FROM cities WHERE customer < 5) AS c CROSS JOIN \
     (SELECT DISTINCT ON (amount) amount, id FROM orders ORDER BY amount, id) AS q \
     ORDER BY c.city, q.id",
    "SELECT f.id, g.id AS other, o.n FROM few f LEFT JOIN few g ON f.id < g.id \
     JOIN (SELECT customer, count(*) AS n FROM orders GROUP BY customer) o ON o.customer = f.id \
     ORDER BY f.id, other",
    "SELECT f.id, array_agg(o.amount ORDER BY o.id) AS amounts \
     FROM few f JOIN orders o ON f.id = o.customer \
     WHERE f.id NOT IN (SELECT id FROM few WHERE id > 1) GROUP BY f.id ORDER BY f.id",
    "SELECT f.id FROM few f FULL JOIN few g ON f.id = g.id + 1 \
     UNION ALL SELECT customer FROM orders GROUP BY customer ORDER BY id",
];

/// Queries with windows of rows of which more is known where they are read than where they arrive.
const KNOWN: [&str; 5] = [
    "SELECT id, rank() OVER (PARTITION BY customer ORDER BY amount, id) AS r FROM orders \
     WHERE customer = 7 ORDER BY id",
    "SELECT id, max(amount) OVER (PARTITION BY customer) AS m FROM orders WHERE customer = 7 \
     ORDER BY id",
    "SELECT id, rank() OVER (PARTITION BY kind ORDER BY id) AS r \
     FROM (SELECT 'order' AS kind, id FROM orders) AS o ORDER BY id",
    "SELECT customer, city, rank() OVER (PARTITION BY customer ORDER BY city) AS r \
     FROM (SELECT o.customer, c.city FROM orders o JOIN cities c ON o.customer = c.customer \
     ORDER BY o.customer, c.city LIMIT 50) AS first ORDER BY customer, r",
    // The rows of both sides come sorted, and are grouped as that.
    "SELECT amount, r, id FROM (SELECT amount, rank() OVER (ORDER BY id) AS r, id FROM orders \
     UNION SELECT amount, rank() OVER (ORDER BY id DESC) AS r, id FROM orders) AS u \
     ORDER BY amount DESC, r, id",
];

/// Compares the rows of a query with those that a session gives which does not shuffle.
pub(super) async fn check(session: &Session, usual: &Session, sql: &str) -> Result<()> {
    let (shuffled, expected) = (rows_of(session, sql).await?, rows_of(usual, sql).await?);
    assert!(expected.len() > 10, "{sql}");
    assert_eq!(shuffled, expected, "{sql}");
    Ok(())
}

#[tokio::test]
async fn workers_that_shuffle_give_the_same_rows() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS, LOGGED]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    for sql in QUERIES {
        check(&session, &usual, sql).await?;
        assert!(was_shuffled(&session, sql).await?, "{sql}");
        assert!(!was_shuffled(&usual, sql).await?, "{sql}");
    }
    assert!(took_part(&cluster) >= 2, "{} took part", took_part(&cluster));
    Ok(())
}

/// What overflows is computed of groups, and so behind the shuffle.
#[tokio::test]
async fn numbers_that_become_too_large_behind_a_shuffle_fail() -> Result<()> {
    let cluster = Cluster::start_with(2, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let sql = "SELECT customer, 9223372036854775807 + count(*) AS n FROM orders GROUP BY customer";
    let plan = session.explain(session.sql(sql).await?, false).await?;
    assert!(plan.contains("RepartitionExec"), "{plan}");
    let error = why(&session, sql).await?;
    let overflow = "Overflow happened on: 9223372036854775807 + ";
    assert!(error.message().contains(overflow), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_needs_all_rows_or_knows_of_them_has_them_beside_a_shuffle() -> Result<()> {
    let cluster = Cluster::start_with(3, &[], &[LISTENS]).await?;
    let session = connect(&cluster, Shuffle::Always).await?;
    let usual = connect(&cluster, Shuffle::Never).await?;
    for session in [&session, &usual] {
        session.register_batches("few", &[batch([("id", ints(0..3_i64))])])?;
    }
    for sql in GATHERING.iter().chain(&KNOWN) {
        assert_eq!(rows_of(&session, sql).await?, rows_of(&usual, sql).await?, "{sql}");
        assert!(was_shuffled(&session, sql).await?, "{sql}");
    }
    Ok(())
}
