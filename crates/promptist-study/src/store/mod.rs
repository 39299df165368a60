//! A study's database: SQLite in its folder, or PostgreSQL, through the same statements.
//!
//! A vote is committed before it is acknowledged, and on the disk before it is committed: SQLite runs with a
//! write-ahead log and `synchronous = FULL`, PostgreSQL with `synchronous_commit = on`, whatever its default.
//! That no vote counts twice is the tables' doing (`schema`), not the code's.

mod raters;
mod record;
mod schema;
mod votes;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Connection, Executor, Transaction};

use crate::build::questions::{Asks, NewStudy};
use crate::error::{Error, Result};

pub(crate) use raters::{Joined, RaterState};
pub(crate) use record::{Answer, Choice, Kind, RaterRecord, Record};
pub(crate) use votes::{Progress, Question, Vote, Voted};

/// How long a statement waits for the database's other users.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections to PostgreSQL. SQLite has one: its writers wait for each other anyhow.
const POSTGRES_CONNECTIONS: u32 = 8;

/// Where a study's tables are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// A schema of a PostgreSQL database. The name is one of ours: `promptist_study_` and hexadecimal digits.
    Postgres {
        /// Of the database.
        url: String,
        /// The study's own.
        schema: String,
    },
}

/// An open database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    begin: &'static str,
    begin_reading: &'static str,
}

impl Store {
    /// Makes the tables and fills them.
    pub(crate) async fn create(place: &Place, study: &NewStudy) -> Result<Self> {
        if let Place::Postgres { url, schema } = place {
            let mut connection = connect(&url.parse()?).await?;
            connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await?;
            connection.close().await?;
        }
        let store = Self::connect(place, true).await?;
        store.fill(study).await?;
        Ok(store)
    }

    /// Opens what [`Self::create`] made, and brings its tables up to date.
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        Self::connect(place, false).await
    }

    /// Takes a study's tables away again, where it could not be made whole.
    pub(crate) async fn remove(place: &Place) -> Result<()> {
        if let Place::Postgres { url, schema } = place {
            let mut connection = connect(&url.parse()?).await?;
            connection.execute(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))).await?;
            connection.close().await?;
        }
        Ok(())
    }

    async fn connect(place: &Place, may_create: bool) -> Result<Self> {
        let (options, connections, [begin, begin_reading], set_up) = match place {
            Place::Sqlite(path) => {
                let path = std::path::absolute(path).map_err(promptist::Error::io(path))?;
                // The URL that it becomes has every other character of a path escaped, and not this one.
                let path = path.to_string_lossy().replace('%', "%25");
                let options = SqliteConnectOptions::new().filename(path).create_if_missing(may_create);
                let options = AnyConnectOptions::from_url(&options.to_url_lossy())?;
                // IMMEDIATE: a transaction that reads first and writes later would otherwise be refused if
                // another process wrote between.
                let set_up = format!(
                    "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                     PRAGMA foreign_keys = ON",
                    PATIENCE.as_millis()
                );
                (options, 1, ["BEGIN IMMEDIATE", "BEGIN"], set_up)
            }
            Place::Postgres { url, schema } => {
                let set_up = format!("SET search_path TO {schema}; SET synchronous_commit = on");
                let begin = ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"];
                (url.parse()?, POSTGRES_CONNECTIONS, begin, set_up)
            }
        };
        let pool_options =
            AnyPoolOptions::new().max_connections(connections).after_connect(move |connection, _| {
                let set_up = AssertSqlSafe(set_up.clone());
                Box::pin(async move { connection.execute(set_up).await.map(drop) })
            });
        // A pool would go on trying where nobody listens.
        connect(&options).await?.close().await?;
        let pool = pool_options.acquire_timeout(PATIENCE).connect_with(options).await?;
        let store = Self { pool, begin, begin_reading };
        store.migrate().await?;
        Ok(store)
    }

    /// Runs what the tables lack, all of it or nothing.
    async fn migrate(&self) -> Result<()> {
        self.pool.execute("CREATE TABLE IF NOT EXISTS tables (version BIGINT PRIMARY KEY)").await?;
        let mut transaction = self.begin().await?;
        let found: Option<i64> =
            sqlx::query_scalar("SELECT MAX(version) FROM tables").fetch_one(&mut *transaction).await?;
        let (found, known) = (found.unwrap_or(0), schema::MIGRATIONS.len() as i64);
        if found > known {
            return Err(Error::NewerDatabase { found, known });
        }
        for (version, statements) in (1..).zip(schema::MIGRATIONS).skip(found as usize) {
            for &statement in *statements {
                transaction.execute(statement).await?;
            }
            sqlx::query("INSERT INTO tables (version) VALUES ($1)")
                .bind::<i64>(version)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn fill(&self, study: &NewStudy) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO study (id, created_at, raters, dropped, the_same, exclude)
             VALUES (1, $1, 0, $2, $3, $4)",
        )
        .bind(now())
        .bind(study.dropped as i64)
        .bind(study.the_same as i64)
        .bind(serde_json::json!(study.exclude).to_string())
        .execute(&mut *transaction)
        .await?;
        for (place, system) in (0_i64..).zip(&study.systems) {
            sqlx::query("INSERT INTO system (place, name) VALUES ($1, $2)")
                .bind(place)
                .bind(system)
                .execute(&mut *transaction)
                .await?;
        }
        for (id, item) in (0_i64..).zip(&study.items) {
            let paths: Vec<String> = item.paths.iter().map(|path| path.display().to_string()).collect();
            sqlx::query(
                "INSERT INTO item (id, input_id, user_input, system, adapted_prompt, images, seeds)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(id)
            .bind(&item.row.input_id)
            .bind(&item.row.user_input)
            .bind(&item.row.system)
            .bind(&item.row.adapted_prompt)
            .bind(serde_json::json!(paths).to_string())
            .bind(serde_json::json!(item.row.seeds).to_string())
            .execute(&mut *transaction)
            .await?;
        }
        for (id, question) in (0_i64..).zip(&study.questions) {
            let (items, note) = match &question.asks {
                Asks::Which { first, second } => ([Some(*first as i64), Some(*second as i64)], None),
                Asks::Check { note } => ([None, None], Some(note.as_str())),
            };
            sqlx::query(
                "INSERT INTO question (id, user_input, first_item, second_item, check_note)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id)
            .bind(&question.user_input)
            .bind(items[0])
            .bind(items[1])
            .bind(note)
            .execute(&mut *transaction)
            .await?;
            for (side, pictures) in [(0_i64, &question.first), (1, &question.second)] {
                for (place, picture) in (0_i64..).zip(pictures) {
                    sqlx::query("INSERT INTO picture (question, side, place, file) VALUES ($1, $2, $3, $4)")
                        .bind(id)
                        .bind(side)
                        .bind(place)
                        .bind(&picture.file)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A transaction that others' writes wait for, or that waits for theirs.
    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.pool.begin_with(self.begin).await?)
    }

    /// A transaction that sees the database as it is when it begins.
    async fn begin_reading(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.pool.begin_with(self.begin_reading).await?)
    }

    /// Finishes what is under way and lets go of the files.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The file of an image that a rater's browser asks for: of an assignment, at A (0) or B (1), in its place. What is
    /// asked a second time is another assignment, so nothing in its images' names says so.
    pub(crate) async fn picture(&self, assignment: &str, at: i64, place: i64) -> Result<Option<String>> {
        if !is_id(assignment) {
            return Ok(None);
        }
        let file = sqlx::query_scalar(
            "SELECT p.file FROM assignment a JOIN picture p ON p.question = a.question
             WHERE a.id = $1 AND p.side = (CASE WHEN a.is_swapped = 1 THEN 1 - $2 ELSE $2 END) AND p.place = $3",
        );
        Ok(file.bind(assignment).bind(at).bind(place).fetch_optional(&self.pool).await?)
    }
}

async fn connect(to: &AnyConnectOptions) -> Result<AnyConnection> {
    install_default_drivers();
    Ok(to.connect().await?)
}

/// 128 bits that nobody can guess, in hexadecimal digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).expect("the system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it could be one of [`random_id`]'s. Nothing else is looked up: PostgreSQL, for one, knows no NUL.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
