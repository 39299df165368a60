//! What the page asks for.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::Enrolment;
use crate::plan::Amount;
use crate::serve::App;
use crate::serve::error::ApiError;
use crate::store::{Choice, Joined, Progress, Question, RaterState, Vote, Voted};

/// How many questions a browser knows ahead, so that their images are there when they are due.
const AHEAD: i64 = 3;
/// The sides, as URLs name them.
const SIDES: [&str; 2] = ["a", "b"];
/// Bytes of a nonce: a UUID has 36.
const MAX_NONCE_BYTES: usize = 64;
/// The longest time that an answer is said to have taken; whoever leaves the page open overnight did not look
/// that long.
const MAX_MILLIS: i64 = 3_600_000;

type Answer = Result<Json, ApiError>;

/// A response of JSON.
pub(super) struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

/// `GET /api/study`.
pub(super) async fn study(State(app): State<Arc<App>>) -> Json {
    let config = &app.config;
    Json(json!({
        "title": config.title,
        "question": config.question,
        "instructions": config.instructions,
        "consent": config.consent,
        "ties": config.ties,
        "is_open": config.raters.enrolment == Enrolment::Open,
    }))
}

/// A browser that enrols by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrol {
    /// The browser's own name for this, the same for every try.
    nonce: String,
}

/// `POST /api/enrol`.
pub(super) async fn enrol(State(app): State<Arc<App>>, Body(Enrol { nonce }): Body<Enrol>) -> Answer {
    if app.config.raters.enrolment != Enrolment::Open {
        return Err(ApiError::Closed("this study needs a link of your own"));
    }
    check_nonce(&nonce)?;
    Ok(Json(json!({"rater": app.store.enrol(&nonce, app.config.raters.max).await?})))
}

/// `GET /api/rater`.
pub(super) async fn rater(State(app): State<Arc<App>>, Rater(rater): Rater) -> Answer {
    stands(&app, rater).await
}

/// `POST /api/consent`.
pub(super) async fn consent(
    State(app): State<Arc<App>>,
    Rater(rater): Rater,
    Body(Nothing {}): Body<Nothing>,
) -> Answer {
    if matches!(rater.state, RaterState::Withdrawn(_)) {
        return Err(ApiError::Withdrawn);
    }
    let amount = Amount { questions: app.config.raters.questions, repeats: app.config.raters.repeats };
    app.store.consent(rater.id, amount, app.config.seed).await?;
    stands(&app, Joined { state: RaterState::Rating, ..rater }).await
}

/// An answer, as it comes in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoteBody {
    question: String,
    choice: String,
    nonce: String,
    #[serde(default)]
    revision: i64,
    millis: i64,
}

/// `POST /api/votes`.
pub(super) async fn votes(
    State(app): State<Arc<App>>,
    Rater(rater): Rater,
    Body(body): Body<VoteBody>,
) -> Answer {
    let choice = Choice::of(&body.choice).filter(|&choice| choice != Choice::Tie || app.config.ties);
    let choice = choice.ok_or_else(|| ApiError::Malformed("`choice` is none of the answers".to_owned()))?;
    check_nonce(&body.nonce)?;
    let millis = body.millis.clamp(0, MAX_MILLIS);
    let VoteBody { question, nonce, revision, .. } = body;
    let vote = Vote { question, choice, nonce, revision, millis };
    match app.store.vote(rater.id, &vote).await? {
        Voted::Kept => stands(&app, rater).await,
        Voted::Unknown => Err(ApiError::NotFound),
        Voted::OutOfTurn => Err(ApiError::OutOfTurn),
        Voted::Withdrawn => Err(ApiError::Withdrawn),
    }
}

fn check_nonce(nonce: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match (8..=MAX_NONCE_BYTES).contains(&nonce.len()) && nonce.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(ApiError::Malformed("`nonce` must be 8 to 64 letters, digits and hyphens".to_owned())),
    }
}

/// `POST /api/withdraw`.
pub(super) async fn withdraw(
    State(app): State<Arc<App>>,
    Rater(rater): Rater,
    Body(Nothing {}): Body<Nothing>,
) -> Answer {
    Ok(Json(json!({"deleted": app.store.withdraw(rater.id).await?})))
}

/// `GET /image/{id}/{side}/{place}`.
pub(super) async fn image(
    State(app): State<Arc<App>>,
    Path((id, side, place)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let at = SIDES.iter().position(|name| *name == side).ok_or(ApiError::NotFound)?;
    let place = place.parse().map_err(|_| ApiError::NotFound)?;
    // They are looked up and never a part of a path; the file's name is one that we gave.
    let file = app.store.picture(&id, at as i64, place).await?.ok_or(ApiError::NotFound)?;
    let path = app.images.join(file);
    let bytes = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let bytes = bytes.map_err(|error| ApiError::Internal(error.to_string()))?;
    let bytes = bytes.map_err(|error| ApiError::Internal(format!("an image: {error}")))?;
    // The same for every image: no date, no tag, no name.
    let headers = [(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, "private, max-age=86400, immutable")];
    Ok((StatusCode::OK, headers, bytes).into_response())
}

async fn stands(app: &App, rater: Joined) -> Answer {
    match rater.state {
        RaterState::Invited => Ok(Json(json!({"state": "invited"}))),
        RaterState::Withdrawn(deleted) => Ok(Json(json!({"state": "withdrawn", "deleted": deleted}))),
        RaterState::Rating => {
            let Progress { answered, total, next, last } = app.store.progress(rater.id, AHEAD).await?;
            let next: Vec<Value> = next.iter().map(wire).collect();
            let last = last.as_ref().map(wire);
            Ok(Json(json!({
                "state": "rating", "answered": answered, "total": total, "next": next, "last": last,
            })))
        }
    }
}

/// A question as a browser sees it: two sides, and not what they are.
fn wire(question: &Question) -> Value {
    let urls = |at: usize| -> Vec<String> {
        let (id, side) = (&question.id, SIDES[at]);
        (0..question.sides[at]).map(|place| format!("image/{id}/{side}/{place}")).collect()
    };
    let answer =
        question.answer.map(|(choice, revision)| json!({"choice": choice.name(), "revision": revision}));
    json!({
        "id": question.id, "place": question.place, "user_input": question.user_input,
        "a": urls(0), "b": urls(1), "answer": answer,
    })
}

/// The rater whose link a request brings.
pub(super) struct Rater(Joined);

impl FromRequestParts<Arc<App>> for Rater {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = token(&parts.headers).ok_or(ApiError::NoLink)?;
        let rater = app.store.rater(token).await?;
        rater.map(Self).ok_or(ApiError::NoLink)
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// An empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A body that is called JSON. Anything else is refused, forms above all: browsers send those to any server
/// without asking it first.
pub(super) struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::NotJson);
        }
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::TooLarge
            }
            other => ApiError::Malformed(other.to_string()),
        })?;
        let body = serde_json::from_slice(&bytes);
        body.map(Self).map_err(|error| ApiError::Malformed(format!("the body: {error}")))
    }
}
