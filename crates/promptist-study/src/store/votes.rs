//! What a rater sees next, and what they answer.

use sqlx::{AnyConnection, Row};

use super::{Choice, Store, is_id, now};
use crate::error::Result;

/// A question as a rater sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Of the assignment.
    pub(crate) id: String,
    /// From 0.
    pub(crate) place: i64,
    pub(crate) user_input: String,
    /// How many images stand at A, and at B.
    pub(crate) sides: [i64; 2],
    /// The answer that stands, and how often it was changed.
    pub(crate) answer: Option<(Choice, i64)>,
}

/// Where a rater stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) answered: i64,
    pub(crate) total: i64,
    /// The next questions, in order.
    pub(crate) next: Vec<Question>,
    /// The last that was answered, whose answer may still be changed.
    pub(crate) last: Option<Question>,
}

/// An answer on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vote {
    /// The assignment's id.
    pub(crate) question: String,
    pub(crate) choice: Choice,
    /// The client's own name for this answer: the same for every try to send it.
    pub(crate) nonce: String,
    /// 0 for an answer, 1 for the first change of it.
    pub(crate) revision: i64,
    pub(crate) millis: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voted {
    /// It is on the disk; it may have been before.
    Kept,
    /// The rater was never asked that.
    Unknown,
    /// Another answer stands, or another question comes first.
    OutOfTurn,
    /// The rater has withdrawn.
    Withdrawn,
}

impl Store {
    /// What a rater is asked next, `ahead` questions of it.
    pub(crate) async fn progress(&self, rater: i64, ahead: i64) -> Result<Progress> {
        let mut connection = self.pool.acquire().await?;
        let (answered, total) = counts(&mut connection, rater).await?;
        let next = sqlx::query(
            "SELECT a.id, a.place, a.question, a.is_swapped, q.user_input, v.choice, v.revision
             FROM assignment a JOIN question q ON q.id = a.question LEFT JOIN vote v ON v.assignment = a.id
             WHERE a.rater = $1 AND v.assignment IS NULL ORDER BY a.place LIMIT $2",
        );
        let last = sqlx::query(
            "SELECT a.id, a.place, a.question, a.is_swapped, q.user_input, v.choice, v.revision
             FROM assignment a JOIN question q ON q.id = a.question JOIN vote v ON v.assignment = a.id
             WHERE a.rater = $1 ORDER BY a.place DESC, v.revision DESC LIMIT $2",
        );
        let next = next.bind(rater).bind(ahead).fetch_all(&mut *connection).await?;
        let last = last.bind(rater).bind(1_i64).fetch_all(&mut *connection).await?;
        let mut questions = Vec::new();
        for row in next.iter().chain(&last) {
            questions.push(question(row, &mut connection).await?);
        }
        let last = (!last.is_empty()).then(|| questions.pop()).flatten();
        Ok(Progress { answered, total, next: questions, last })
    }

    /// Keeps an answer: on the disk when this returns. The same answer again changes nothing.
    pub(crate) async fn vote(&self, rater: i64, vote: &Vote) -> Result<Voted> {
        if !is_id(&vote.question) {
            return Ok(Voted::Unknown);
        }
        match self.try_vote(rater, vote).await {
            // Somebody was first with this nonce: if it was this vote, it is kept.
            Err(crate::Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
                self.try_vote(rater, vote).await
            }
            other => other,
        }
    }

    async fn try_vote(&self, rater: i64, vote: &Vote) -> Result<Voted> {
        let mut transaction = self.begin().await?;
        // First a write to the rater's own row: their answers and their withdrawal wait for each other.
        let is_there = sqlx::query("UPDATE rater SET seen_at = $2 WHERE id = $1 AND withdrawn_at IS NULL")
            .bind(rater)
            .bind(now())
            .execute(&mut *transaction)
            .await?;
        if is_there.rows_affected() == 0 {
            return Ok(Voted::Withdrawn);
        }
        let place: Option<i64> =
            sqlx::query_scalar("SELECT place FROM assignment WHERE id = $1 AND rater = $2")
                .bind(&vote.question)
                .bind(rater)
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(place) = place else { return Ok(Voted::Unknown) };
        let kept = sqlx::query("SELECT assignment, revision, choice FROM vote WHERE nonce = $1")
            .bind(&vote.nonce)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(kept) = kept {
            let (question, revision, choice): (String, i64, String) =
                (kept.try_get(0)?, kept.try_get(1)?, kept.try_get(2)?);
            let is_this =
                question == vote.question && revision == vote.revision && choice == vote.choice.name();
            return Ok(if is_this { Voted::Kept } else { Voted::OutOfTurn });
        }
        let (answered, _) = counts(&mut transaction, rater).await?;
        let revisions: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM vote WHERE assignment = $1")
            .bind(&vote.question)
            .fetch_one(&mut *transaction)
            .await?;
        // In order, and of what is answered only the last may be changed: places are answered from 0 on.
        let turn = if vote.revision == 0 { answered } else { answered - 1 };
        if place != turn || vote.revision != revisions {
            return Ok(Voted::OutOfTurn);
        }
        sqlx::query(
            "INSERT INTO vote (assignment, revision, choice, nonce, millis, voted_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&vote.question)
        .bind(vote.revision)
        .bind(vote.choice.name())
        .bind(&vote.nonce)
        .bind(vote.millis)
        .bind(now())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Voted::Kept)
    }
}

/// How many questions a rater has answered, and has.
async fn counts(connection: &mut AnyConnection, rater: i64) -> Result<(i64, i64)> {
    let row = sqlx::query(
        "SELECT COUNT(DISTINCT v.assignment), COUNT(DISTINCT a.id)
         FROM assignment a LEFT JOIN vote v ON v.assignment = a.id WHERE a.rater = $1",
    )
    .bind(rater)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

async fn question(row: &sqlx::any::AnyRow, connection: &mut AnyConnection) -> Result<Question> {
    let (question, is_swapped): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
    let counts = sqlx::query("SELECT side, COUNT(*) FROM picture WHERE question = $1 GROUP BY side")
        .bind(question)
        .fetch_all(connection)
        .await?;
    let mut sides = [0, 0];
    for count in counts {
        let (side, count): (i64, i64) = (count.try_get(0)?, count.try_get(1)?);
        // At A stands the first side, or the second if they are swapped.
        sides[usize::from(side != is_swapped)] = count;
    }
    let answer: (Option<String>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
    Ok(Question {
        id: row.try_get(0)?,
        place: row.try_get(1)?,
        user_input: row.try_get(4)?,
        sides,
        answer: answer.0.and_then(|choice| Choice::of(&choice)).zip(answer.1),
    })
}
