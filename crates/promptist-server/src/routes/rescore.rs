//! `POST /v1/rescore`: what answers would score with other additions, without a search.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use crate::app::App;
use crate::body::JsonBytes;
use crate::error::ApiError;
use crate::json::Json;
use crate::wire::RescoreBody;

/// `{"scores": [...]}`, one for each of `additions`.
pub(crate) async fn rescore(
    State(app): State<Arc<App>>,
    JsonBytes(body): JsonBytes,
) -> Result<Json, ApiError> {
    let RescoreBody { user_input, additions, request } = RescoreBody::parse(&body, &app.config)?;
    let scores = app
        .in_time(async {
            let permit = app.engine.permit()?;
            let settings = app.settings(request).await?;
            app.engine.rescore(permit, user_input, additions, &settings).get().await
        })
        .await?;
    Ok(Json(json!({"scores": scores})))
}
