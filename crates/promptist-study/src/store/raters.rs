//! Who rates: links, consent with the plan that it sets up, withdrawal.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sqlx::{Any, Row, Transaction};

use super::{Store, now, random_id};
use crate::error::{Error, Result};
use crate::plan::{Amount, Load, plan};

/// How long questions that a rater has not answered count as asked. Whoever began and went away leaves room
/// for others; if they come back, a question has one answer more.
const COUNTED_AS_ASKED: Duration = Duration::from_secs(24 * 3600);

/// How long a place is held for somebody who came without a link and has not agreed yet.
const HELD_FOR: Duration = Duration::from_secs(600);

/// Where a rater stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RaterState {
    /// Has a link, and has not agreed yet.
    Invited,
    /// Answers, or is done.
    Rating,
    /// Went; so many answers were deleted.
    Withdrawn(i64),
}

/// A rater, by their link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) id: i64,
    pub(crate) state: RaterState,
}

impl Store {
    /// Makes room for raters and gives their tokens, which are all that a link has.
    ///
    /// # Errors
    /// [`Error::Full`] if there are `max` then who have not withdrawn.
    pub(crate) async fn invite(&self, count: usize, max: u32) -> Result<Vec<String>> {
        let mut transaction = self.begin().await?;
        self.lock(&mut transaction).await?;
        let there: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM rater WHERE withdrawn_at IS NULL")
            .fetch_one(&mut *transaction)
            .await?;
        if there + count as i64 > i64::from(max) {
            return Err(Error::Full(i64::from(max)));
        }
        let mut tokens = Vec::with_capacity(count);
        for _ in 0..count {
            tokens.push(add(&mut transaction, None).await?);
        }
        transaction.commit().await?;
        Ok(tokens)
    }

    /// The token of a rater who came without a link: one for each nonce. Who has not agreed for [`HELD_FOR`] does not hold
    /// a place any more, so that nobody closes a study by asking.
    ///
    /// # Errors
    /// [`Error::Full`] if there are `max` already.
    pub(crate) async fn enrol(&self, nonce: &str, max: u32) -> Result<String> {
        let mut transaction = self.begin().await?;
        self.lock(&mut transaction).await?;
        let known: Option<String> = sqlx::query_scalar("SELECT token FROM rater WHERE nonce = $1")
            .bind(nonce)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(token) = known {
            return Ok(token);
        }
        let there: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM rater
             WHERE withdrawn_at IS NULL AND (consented_at IS NOT NULL OR nonce IS NULL OR created_at > $1)",
        )
        .bind(now() - HELD_FOR.as_millis() as i64)
        .fetch_one(&mut *transaction)
        .await?;
        if there >= i64::from(max) {
            return Err(Error::Full(i64::from(max)));
        }
        let token = add(&mut transaction, Some(nonce)).await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// The rater of a link.
    pub(crate) async fn rater(&self, token: &str) -> Result<Option<Joined>> {
        let row =
            sqlx::query("SELECT id, consented_at, withdrawn_at, withdrawn_votes FROM rater WHERE token = $1")
                .bind(token)
                .fetch_optional(&self.pool)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let (consented, withdrawn): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
        let state = match (consented, withdrawn) {
            (_, Some(_)) => RaterState::Withdrawn(row.try_get(3)?),
            (Some(_), None) => RaterState::Rating,
            (None, None) => RaterState::Invited,
        };
        Ok(Some(Joined { id: row.try_get(0)?, state }))
    }

    /// Notes that a rater agreed, and plans what they will be asked. Again is no different from once.
    pub(crate) async fn consent(&self, rater: i64, amount: Amount, seed: u64) -> Result<()> {
        let mut transaction = self.begin().await?;
        // One at a time: each plan follows what those before it ask.
        self.lock(&mut transaction).await?;
        let now = now();
        let agreed = sqlx::query(
            "UPDATE rater SET consented_at = $2, seen_at = $2
             WHERE id = $1 AND consented_at IS NULL AND withdrawn_at IS NULL",
        )
        .bind(rater)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        if agreed.rows_affected() == 0 {
            return Ok(());
        }
        let loads = loads(&mut transaction, now).await?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Each rater has a stream of their own under the study's seed.
        rng.set_stream(rater as u64);
        for (place, planned) in (0_i64..).zip(plan(&loads, amount, &mut rng)) {
            sqlx::query(
                "INSERT INTO assignment (id, rater, place, question, is_swapped, is_repeat)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(random_id())
            .bind(rater)
            .bind(place)
            .bind(planned.question)
            .bind(i64::from(planned.is_swapped))
            .bind(i64::from(planned.is_repeat))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Deletes a rater's answers and everything they were asked; how many answers that were. What stays is
    /// that somebody withdrew.
    pub(crate) async fn withdraw(&self, rater: i64) -> Result<i64> {
        let mut transaction = self.begin().await?;
        let withdrawn =
            sqlx::query("UPDATE rater SET withdrawn_at = $2 WHERE id = $1 AND withdrawn_at IS NULL")
                .bind(rater)
                .bind(now())
                .execute(&mut *transaction)
                .await?;
        if withdrawn.rows_affected() > 0 {
            let answers: i64 = sqlx::query_scalar(
                "SELECT COUNT(DISTINCT v.assignment) FROM vote v JOIN assignment a ON a.id = v.assignment
                 WHERE a.rater = $1",
            )
            .bind(rater)
            .fetch_one(&mut *transaction)
            .await?;
            for statement in [
                "DELETE FROM vote WHERE assignment IN (SELECT id FROM assignment WHERE rater = $1)",
                "DELETE FROM assignment WHERE rater = $1",
            ] {
                sqlx::query(statement).bind(rater).execute(&mut *transaction).await?;
            }
            sqlx::query("UPDATE rater SET withdrawn_votes = $2 WHERE id = $1")
                .bind(rater)
                .bind(answers)
                .execute(&mut *transaction)
                .await?;
        }
        let deleted = sqlx::query_scalar("SELECT withdrawn_votes FROM rater WHERE id = $1")
            .bind(rater)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(deleted)
    }

    /// Makes whoever enrols at the same time wait. SQLite's writers wait for each other as it is.
    async fn lock(&self, transaction: &mut Transaction<'static, Any>) -> Result<()> {
        sqlx::query("UPDATE study SET raters = raters + 1 WHERE id = 1").execute(&mut **transaction).await?;
        Ok(())
    }
}

/// A new rater's token.
async fn add(transaction: &mut Transaction<'static, Any>, nonce: Option<&str>) -> Result<String> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(id) FROM rater").fetch_one(&mut **transaction).await?;
    let token = random_id();
    // Kept as it is, not hashed: whoever reads the database has the votes that it would lead to.
    sqlx::query(
        "INSERT INTO rater (id, token, nonce, created_at, seen_at, withdrawn_votes)
         VALUES ($1, $2, $3, $4, 0, 0)",
    )
    .bind(last.unwrap_or(0) + 1)
    .bind(&token)
    .bind(nonce)
    .bind(now())
    .execute(&mut **transaction)
    .await?;
    Ok(token)
}

/// The questions, and how often each was shown which way.
async fn loads(transaction: &mut Transaction<'static, Any>, now: i64) -> Result<Vec<Load>> {
    let rows = sqlx::query(
        "SELECT q.id, f.system, s.system FROM question q
         LEFT JOIN item f ON f.id = q.first_item
         LEFT JOIN item s ON s.id = q.second_item
         ORDER BY q.id",
    )
    .fetch_all(&mut **transaction)
    .await?;
    let mut loads = Vec::with_capacity(rows.len());
    for row in rows {
        let systems: (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        let pair = systems.0.zip(systems.1);
        loads.push(Load { question: row.try_get(0)?, pair, shown: [0, 0] });
    }
    let shown = sqlx::query(
        "SELECT a.question, a.is_swapped, COUNT(*) FROM assignment a JOIN rater r ON r.id = a.rater
         WHERE a.is_repeat = 0
           AND (r.seen_at > $1 OR EXISTS (SELECT 1 FROM vote v WHERE v.assignment = a.id))
         GROUP BY a.question, a.is_swapped",
    )
    .bind(now - COUNTED_AS_ASKED.as_millis() as i64)
    .fetch_all(&mut **transaction)
    .await?;
    for row in shown {
        let (question, is_swapped, count): (i64, i64, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // Ids are the places in the list: the tables are filled once, in order.
        if let Some(load) = loads.get_mut(question as usize) {
            load.shown[usize::from(is_swapped == 1)] = count;
        }
    }
    Ok(loads)
}
