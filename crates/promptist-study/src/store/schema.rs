//! The tables, as one list of migrations that SQLite and PostgreSQL both read.
//!
//! Types are the three that both spell alike: BIGINT, TEXT and none other. Times are milliseconds since 1970.
//! A version's statements never change once released; what comes later is a new entry.

/// The statements that lead from each version of the tables to the next.
pub(super) const MIGRATIONS: &[&[&str]] = &[&[
    // One row. Whoever changes it first goes first: it is what enrolments wait for in PostgreSQL. `exclude` is JSON: the
    // rules as they stood before anybody answered.
    "CREATE TABLE study (
        id BIGINT PRIMARY KEY CHECK (id = 1),
        created_at BIGINT NOT NULL,
        raters BIGINT NOT NULL,
        dropped BIGINT NOT NULL,
        the_same BIGINT NOT NULL,
        exclude TEXT NOT NULL
    )",
    "CREATE TABLE system (place BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    // What a system made of an input. `images` and `seeds` are JSON: where they came from.
    "CREATE TABLE item (
        id BIGINT PRIMARY KEY,
        input_id TEXT NOT NULL,
        user_input TEXT NOT NULL,
        system TEXT NOT NULL REFERENCES system (name),
        adapted_prompt TEXT NOT NULL,
        images TEXT NOT NULL,
        seeds TEXT NOT NULL,
        UNIQUE (input_id, system)
    )",
    // Either two items, or a check whose first side is right.
    "CREATE TABLE question (
        id BIGINT PRIMARY KEY,
        user_input TEXT NOT NULL,
        first_item BIGINT REFERENCES item (id),
        second_item BIGINT REFERENCES item (id),
        check_note TEXT,
        CHECK ((check_note IS NULL) = (first_item IS NOT NULL)),
        CHECK ((first_item IS NULL) = (second_item IS NULL))
    )",
    "CREATE TABLE picture (
        question BIGINT NOT NULL REFERENCES question (id),
        side BIGINT NOT NULL CHECK (side IN (0, 1)),
        place BIGINT NOT NULL,
        file TEXT NOT NULL,
        PRIMARY KEY (question, side, place)
    )",
    // `nonce` is how a browser that enrols by itself calls that: asking twice is asking once.
    "CREATE TABLE rater (
        id BIGINT PRIMARY KEY,
        token TEXT NOT NULL UNIQUE,
        nonce TEXT UNIQUE,
        created_at BIGINT NOT NULL,
        consented_at BIGINT,
        seen_at BIGINT NOT NULL,
        withdrawn_at BIGINT,
        withdrawn_votes BIGINT NOT NULL
    )",
    "CREATE TABLE assignment (
        id TEXT PRIMARY KEY,
        rater BIGINT NOT NULL REFERENCES rater (id),
        place BIGINT NOT NULL,
        question BIGINT NOT NULL REFERENCES question (id),
        is_swapped BIGINT NOT NULL CHECK (is_swapped IN (0, 1)),
        is_repeat BIGINT NOT NULL CHECK (is_repeat IN (0, 1)),
        UNIQUE (rater, place),
        UNIQUE (rater, question, is_repeat)
    )",
    // What a rater saw and chose, never what it stands for. A changed answer is a new row: the last counts.
    "CREATE TABLE vote (
        assignment TEXT NOT NULL REFERENCES assignment (id),
        revision BIGINT NOT NULL CHECK (revision >= 0),
        choice TEXT NOT NULL CHECK (choice IN ('a', 'b', 'tie')),
        nonce TEXT NOT NULL UNIQUE,
        millis BIGINT NOT NULL,
        voted_at BIGINT NOT NULL,
        PRIMARY KEY (assignment, revision)
    )",
]];
