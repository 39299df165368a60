//! Everything that a study holds, for reports and exports.

use sqlx::Row;

use super::Store;
use crate::config::Exclude;
use crate::error::Result;

/// Where the rater's preferred images stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    A,
    B,
    Tie,
}

impl Choice {
    /// As it is written in tables and on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }

    /// The choice of that name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::A, Self::B, Self::Tie].into_iter().find(|choice| choice.name() == name)
    }
}

/// What a system made of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemRecord {
    pub(crate) input_id: String,
    pub(crate) user_input: String,
    pub(crate) system: String,
    pub(crate) adapted_prompt: String,
    pub(crate) images: Vec<String>,
    pub(crate) seeds: Vec<u64>,
}

impl ItemRecord {
    /// What a row is called in reports: as an evaluation calls its own.
    pub(crate) fn row_id(&self) -> String {
        format!("{}:{}", self.input_id, self.system)
    }
}

/// A question, by the places of its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuestionRecord {
    pub(crate) user_input: String,
    /// None for a check.
    pub(crate) items: Option<(usize, usize)>,
    pub(crate) check_note: Option<String>,
    /// The files of its sides, in the study's folder.
    pub(crate) files: [Vec<String>; 2],
}

/// A rater, without their link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RaterRecord {
    pub(crate) id: i64,
    pub(crate) has_consented: bool,
    /// How many answers were deleted, if the rater withdrew.
    pub(crate) withdrawn: Option<i64>,
    /// How many questions the rater was given.
    pub(crate) assigned: i64,
}

/// Why a question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Repeat,
    Check,
}

impl Kind {
    /// As exports have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Repeat => "repeat",
            Self::Check => "check",
        }
    }
}

/// An answer as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rater: i64,
    pub(crate) question: usize,
    pub(crate) kind: Kind,
    pub(crate) place: i64,
    pub(crate) is_swapped: bool,
    pub(crate) choice: Choice,
    /// How often it was changed before.
    pub(crate) changes: i64,
    /// Of looking at it, changes included.
    pub(crate) millis: i64,
    pub(crate) voted_at: i64,
}

impl Answer {
    /// The answer seen from the question's first side: 1 for it, -1 against it, 0 for no difference.
    pub(crate) fn for_first(&self) -> i8 {
        match (self.choice, self.is_swapped) {
            (Choice::Tie, _) => 0,
            (Choice::A, false) | (Choice::B, true) => 1,
            (Choice::A, true) | (Choice::B, false) => -1,
        }
    }
}

/// A study as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) systems: Vec<String>,
    pub(crate) items: Vec<ItemRecord>,
    pub(crate) questions: Vec<QuestionRecord>,
    pub(crate) raters: Vec<RaterRecord>,
    /// In the order of raters, then of their questions.
    pub(crate) answers: Vec<Answer>,
    pub(crate) dropped: i64,
    pub(crate) the_same: i64,
    /// The rules, as they stood before anybody answered.
    pub(crate) exclude: Exclude,
}

impl Store {
    /// Reads everything.
    pub(crate) async fn record(&self) -> Result<Record> {
        // One view of all tables: a rater who withdraws meanwhile is there with all answers, or with none.
        let mut transaction = self.begin_reading().await?;
        let connection = &mut *transaction;
        let systems =
            sqlx::query_scalar("SELECT name FROM system ORDER BY place").fetch_all(&mut *connection);
        let systems: Vec<String> = systems.await?;
        let study =
            sqlx::query("SELECT dropped, the_same, exclude FROM study").fetch_one(&mut *connection).await?;

        let rows = sqlx::query(
            "SELECT input_id, user_input, system, adapted_prompt, images, seeds FROM item ORDER BY id",
        );
        let mut items = Vec::new();
        for row in rows.fetch_all(&mut *connection).await? {
            let (images, seeds): (String, String) = (row.try_get(4)?, row.try_get(5)?);
            items.push(ItemRecord {
                input_id: row.try_get(0)?,
                user_input: row.try_get(1)?,
                system: row.try_get(2)?,
                adapted_prompt: row.try_get(3)?,
                images: parse(&images)?,
                seeds: parse(&seeds)?,
            });
        }

        let rows =
            sqlx::query("SELECT user_input, first_item, second_item, check_note FROM question ORDER BY id");
        let mut questions: Vec<QuestionRecord> = Vec::new();
        for row in rows.fetch_all(&mut *connection).await? {
            let (first, second): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
            questions.push(QuestionRecord {
                user_input: row.try_get(0)?,
                items: first.zip(second).map(|(first, second)| (first as usize, second as usize)),
                check_note: row.try_get(3)?,
                files: [Vec::new(), Vec::new()],
            });
        }
        let rows = sqlx::query("SELECT question, side, file FROM picture ORDER BY question, side, place");
        for row in rows.fetch_all(&mut *connection).await? {
            let (question, side): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(question) = questions.get_mut(question as usize) {
                question.files[usize::from(side == 1)].push(row.try_get(2)?);
            }
        }

        let rows = sqlx::query(
            "SELECT r.id, r.consented_at, r.withdrawn_at, r.withdrawn_votes,
                    (SELECT COUNT(*) FROM assignment a WHERE a.rater = r.id)
             FROM rater r ORDER BY r.id",
        );
        let mut raters = Vec::new();
        for row in rows.fetch_all(&mut *connection).await? {
            let (consented_at, withdrawn_at): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
            let withdrawn_votes: i64 = row.try_get(3)?;
            raters.push(RaterRecord {
                id: row.try_get(0)?,
                has_consented: consented_at.is_some(),
                withdrawn: withdrawn_at.map(|_| withdrawn_votes),
                assigned: row.try_get(4)?,
            });
        }

        let rows = sqlx::query(
            "SELECT a.rater, a.question, a.is_repeat, a.place, a.is_swapped,
                    v.choice, v.revision, v.voted_at,
                    (SELECT CAST(SUM(w.millis) AS BIGINT) FROM vote w WHERE w.assignment = v.assignment)
             FROM vote v JOIN assignment a ON a.id = v.assignment
             WHERE v.revision = (SELECT MAX(w.revision) FROM vote w WHERE w.assignment = v.assignment)
             ORDER BY a.rater, a.place",
        );
        let mut answers = Vec::new();
        for row in rows.fetch_all(&mut *connection).await? {
            let (question, choice): (i64, String) = (row.try_get(1)?, row.try_get(5)?);
            let (is_repeat, is_swapped): (i64, i64) = (row.try_get(2)?, row.try_get(4)?);
            let question = question as usize;
            let is_check = questions.get(question).is_some_and(|question| question.items.is_none());
            let kind = match (is_check, is_repeat == 1) {
                (true, _) => Kind::Check,
                (false, true) => Kind::Repeat,
                (false, false) => Kind::Main,
            };
            // The table takes no other names.
            let Some(choice) = Choice::of(&choice) else { continue };
            answers.push(Answer {
                rater: row.try_get(0)?,
                question,
                kind,
                place: row.try_get(3)?,
                is_swapped: is_swapped == 1,
                choice,
                changes: row.try_get(6)?,
                voted_at: row.try_get(7)?,
                millis: row.try_get(8)?,
            });
        }
        let (dropped, the_same, exclude): (i64, i64, String) =
            (study.try_get(0)?, study.try_get(1)?, study.try_get(2)?);
        let exclude = parse(&exclude)?;
        Ok(Record { systems, items, questions, raters, answers, dropped, the_same, exclude })
    }
}

/// What the tables hold as JSON.
fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()).into())
}
