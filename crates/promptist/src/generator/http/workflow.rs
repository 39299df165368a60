//! ComfyUI workflows as templates: a graph in API format whose strings hold placeholders.
//!
//! ```json
//! {"3": {"class_type": "KSampler", "inputs": {"seed": "{{seed}}", "steps": "{{steps}}", "cfg": "{{cfg}}"}},
//!  "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "masterpiece, {{prompt}}"}}}
//! ```
//!
//! `{{prompt}}` and `{{seed}}` must be there; `{{negative_prompt}}` and `{{sampler_name}}` must be if the settings have
//! them; `{{width}}`, `{{height}}`, `{{steps}}`, `{{cfg}}` may be left out, and are the workflow's own then; so may
//! `{{checkpoint}}`, the settings' `model`.

use std::fs;

use serde_json::{Map, Value, json};

use super::Call;
use super::settings::HttpSettings;
use crate::error::{Error, Result};
use crate::http::failure::Failure;

/// Stable Diffusion 1.x and 2.x from a checkpoint file. `PreviewImage` writes to the folder that the server
/// empties when it starts, so that a training run does not fill its disk.
const BUILT_IN: &str = include_str!("comfy_sd.json");

/// The sampler nearest to the released code's, when the settings name none: DPM-Solver++ of order 2.
const DEFAULT_SAMPLER: &str = "dpmpp_2m";

/// What a template may name.
const PLACEHOLDERS: [&str; 9] =
    ["prompt", "negative_prompt", "seed", "width", "height", "steps", "cfg", "sampler_name", "checkpoint"];

/// A workflow in API format, `{"node": {"class_type", "inputs"}}`, with `{{name}}` in its strings.
pub(super) struct Workflow {
    /// With the checkpoint filled in.
    pub graph: Value,
    /// The node that gives the image.
    pub output: String,
    default_sampler: Option<&'static str>,
    /// What of the settings the template has a place for.
    has_negative_prompt: bool,
    has_sampler: bool,
}

impl Workflow {
    /// The settings' own, or the built-in one.
    pub fn open(settings: &HttpSettings) -> Result<Self> {
        match &settings.workflow {
            None => {
                let checkpoint = settings.model.as_deref().ok_or_else(|| {
                    let reason = "ComfyUI's built-in workflow needs the name of a checkpoint";
                    Error::config("model", reason)
                })?;
                let template = Self::new(BUILT_IN, None, Some(checkpoint))
                    .map_err(|reason| Error::config("workflow", reason))?;
                Ok(Self { default_sampler: Some(DEFAULT_SAMPLER), ..template })
            }
            Some(path) => {
                let text = fs::read_to_string(path).map_err(Error::io(path))?;
                Self::new(&text, settings.output_node.as_deref(), settings.model.as_deref())
                    .map_err(|reason| Error::file(path, reason))
            }
        }
    }

    fn new(text: &str, output: Option<&str>, checkpoint: Option<&str>) -> Result<Self, String> {
        let mut graph: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let nodes = graph.as_object().filter(|nodes| {
            !nodes.is_empty()
                && nodes.values().all(|node| node["class_type"].is_string() && node["inputs"].is_object())
        });
        let nodes = nodes
            .ok_or("expected ComfyUI's API format (`Export (API)`): nodes with `class_type` and `inputs`")?;
        let output = output_node(nodes, output)?;

        let mut named = Vec::new();
        for_each_string(&graph, &mut |text| {
            named.extend(pieces(text).filter_map(Piece::name).map(str::to_owned))
        });
        if let Some(unknown) = named.iter().find(|name| !PLACEHOLDERS.contains(&name.as_str())) {
            return Err(format!("unknown placeholder `{{{{{unknown}}}}}`: expected one of {PLACEHOLDERS:?}"));
        }
        let has = |name: &str| named.iter().any(|named| named == name);
        for name in ["prompt", "seed"] {
            if !has(name) {
                return Err(format!("has no placeholder `{{{{{name}}}}}`: its images would all be the same"));
            }
        }
        let (has_negative_prompt, has_sampler) = (has("negative_prompt"), has("sampler_name"));
        // The checkpoint is of the pool, not of the call: filled in once, it is in the graph's hash.
        if has("checkpoint") {
            let checkpoint =
                checkpoint.ok_or("has the placeholder `{{checkpoint}}`, and no `model` is set")?;
            let names = |name: &str| (name == "checkpoint").then(|| json!(checkpoint));
            graph = fill_in(&graph, &names);
        } else if checkpoint.is_some() {
            return Err("`model` is set, and the workflow has no placeholder `{{checkpoint}}`".to_owned());
        }
        Ok(Self { graph, output, default_sampler: None, has_negative_prompt, has_sampler })
    }

    /// The graph of one image. A setting that has no place in it is an error, not silently dropped.
    pub fn filled_in(&self, call: &Call<'_>) -> Result<Value, Failure> {
        let settings = call.settings;
        if !settings.negative_prompt.is_empty() && !self.has_negative_prompt {
            return Err(Failure::anywhere("the workflow has no placeholder `{{negative_prompt}}`"));
        }
        if settings.scheduler.is_some() && !self.has_sampler {
            return Err(Failure::anywhere(
                "the workflow has no placeholder `{{sampler_name}}` for the scheduler",
            ));
        }
        let sampler = settings.scheduler.as_deref().or(self.default_sampler);
        if self.has_sampler && sampler.is_none() {
            return Err(Failure::anywhere(
                "the workflow's `{{sampler_name}}` needs a scheduler, and none is set",
            ));
        }
        let values = |name: &str| {
            Some(match name {
                "prompt" => json!(call.prompt),
                "negative_prompt" => json!(settings.negative_prompt),
                "seed" => json!(call.seeds.first()?),
                "width" => json!(settings.width),
                "height" => json!(settings.height),
                "steps" => json!(settings.num_inference_steps),
                "cfg" => json!(settings.guidance_scale),
                "sampler_name" => json!(sampler?),
                _ => return None,
            })
        };
        Ok(fill_in(&self.graph, &values))
    }
}

/// The node of that id or title; without one the only node that saves images, or else shows them.
fn output_node(nodes: &Map<String, Value>, wanted: Option<&str>) -> Result<String, String> {
    let found = |is_it: &dyn Fn(&str, &Value) -> bool| -> Vec<&str> {
        nodes.iter().filter(|(id, node)| is_it(id, node)).map(|(id, _)| id.as_str()).collect()
    };
    let of_class = |class: &str| found(&|_, node| node["class_type"] == class);
    let candidates = match wanted {
        Some(wanted) => found(&|id, node| id == wanted || node["_meta"]["title"] == wanted),
        None => Some(of_class("SaveImage"))
            .filter(|ids| !ids.is_empty())
            .unwrap_or_else(|| of_class("PreviewImage")),
    };
    match (candidates[..].as_ref(), wanted) {
        ([id], _) => Ok((*id).to_owned()),
        ([], Some(wanted)) => Err(format!("has no node `{wanted}`")),
        ([], None) => Err("has no node SaveImage: name the one that gives the image".to_owned()),
        (ids, _) => Err(format!("the image may come from any of the nodes {ids:?}: name one")),
    }
}

/// A part of a string: text, or the name in `{{name}}`.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

impl<'a> Piece<'a> {
    fn name(self) -> Option<&'a str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Text(_) => None,
        }
    }
}

/// `text` cut at its placeholders. Braces that name nothing (`{{a, b}}`, wildcards) are text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let mut rest = text;
    let mut next = None;
    std::iter::from_fn(move || {
        if let Some(name) = next.take() {
            return Some(Piece::Name(name));
        }
        if rest.is_empty() {
            return None;
        }
        let mut from = 0;
        while let Some(start) = rest[from..].find("{{").map(|at| from + at) {
            let inner = &rest[start + 2..];
            match inner.find("}}").map(|end| &inner[..end]) {
                Some(name) if is_name(name) => {
                    let text = &rest[..start];
                    rest = &inner[name.len() + 2..];
                    if text.is_empty() {
                        return Some(Piece::Name(name));
                    }
                    next = Some(name);
                    return Some(Piece::Text(text));
                }
                _ => from = start + 2,
            }
        }
        Some(Piece::Text(std::mem::take(&mut rest)))
    })
}

fn for_each_string<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_string(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| for_each_string(field, visit)),
        _ => {}
    }
}

/// `value` with the placeholders that `values` knows filled in, once: what is filled in is not looked at again.
/// A string that is nothing but a placeholder becomes the value itself, a number for a number.
fn fill_in(value: &Value, values: &impl Fn(&str) -> Option<Value>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| fill_in(item, values)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (key.clone(), fill_in(field, values))).collect())
        }
        Value::String(text) => {
            let whole = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
            if let Some(value) = whole.and_then(values) {
                return value;
            }
            let filled = pieces(text).map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Name(name) => match values(name) {
                    Some(Value::String(value)) => value,
                    Some(value) => value.to_string(),
                    None => format!("{{{{{name}}}}}"),
                },
            });
            Value::String(filled.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Description;
    use super::*;
    use crate::generator::ImageSettings;

    static AGREED: Description = Description { model: String::new(), takes_seeds: true };

    fn call<'a>(prompt: &'a str, seeds: &'a [u64], settings: &'a ImageSettings) -> Call<'a> {
        Call { prompt, seeds, settings, agreed: &AGREED }
    }

    #[test]
    fn the_built_in_graph_takes_every_setting() {
        let template =
            Workflow::open(&HttpSettings { model: Some("sd.ckpt".to_owned()), ..Default::default() });
        let template = template.expect("a template");
        let settings = ImageSettings { negative_prompt: "blurry".to_owned(), ..ImageSettings::default() };
        let graph = template.filled_in(&call("a fox", &[u64::MAX], &settings)).expect("a graph");
        let of_class = |class: &str| {
            graph.as_object().expect("nodes").values().find(|node| node["class_type"] == class).expect(class)
        };
        let sampler = &of_class("KSampler")["inputs"];
        assert_eq!(sampler["seed"], json!(u64::MAX));
        assert_eq!((&sampler["steps"], &sampler["cfg"]), (&json!(20), &json!(7.5)));
        assert_eq!(sampler["sampler_name"], "dpmpp_2m");
        assert_eq!(of_class("CheckpointLoaderSimple")["inputs"]["ckpt_name"], "sd.ckpt");
        assert_eq!(
            of_class("EmptyLatentImage")["inputs"],
            json!({"width": 512, "height": 512, "batch_size": 1})
        );
        assert!(!graph.to_string().contains("{{"), "{graph}");
    }

    #[test]
    fn a_prompt_is_filled_in_once_and_as_it_is() {
        let template = r#"{"1": {"class_type": "SaveImage", "inputs": {"x": "{{prompt}}, {{wild, card}} {{seed}}", "y": "{{prompt}}"}}}"#;
        let template = Workflow::new(template, None, None).expect("a template");
        let settings = ImageSettings::default();
        for prompt in ["{{seed}} \"{{prompt}}\"", "", "{{", "}}{{steps}}", "ä\n"] {
            let graph = template.filled_in(&call(prompt, &[7], &settings)).expect("a graph");
            assert_eq!(graph["1"]["inputs"]["x"], format!("{prompt}, {{{{wild, card}}}} 7"));
            assert_eq!(graph["1"]["inputs"]["y"], prompt);
        }
    }

    #[test]
    fn a_setting_without_a_place_is_an_error() {
        let template =
            r#"{"1": {"class_type": "SaveImage", "inputs": {"x": "{{prompt}}", "y": "{{seed}}"}}}"#;
        let template = Workflow::new(template, None, None).expect("a template");
        let negative = ImageSettings { negative_prompt: "x".to_owned(), ..ImageSettings::default() };
        assert!(
            template
                .filled_in(&call("a", &[1], &negative))
                .expect_err("no place")
                .reason
                .contains("negative")
        );
        let scheduler = ImageSettings { scheduler: Some("euler".to_owned()), ..ImageSettings::default() };
        assert!(
            template
                .filled_in(&call("a", &[1], &scheduler))
                .expect_err("no place")
                .reason
                .contains("sampler")
        );
    }

    #[test]
    fn templates_that_cannot_work_say_why() {
        let inputs = r#""inputs": {"x": "{{prompt}}", "y": "{{seed}}"}"#;
        let why = |text: &str, output| Workflow::new(text, output, None).err().expect(text);
        assert!(why("[1]", None).contains("API format"));
        assert!(why(r#"{"nodes": [], "links": []}"#, None).contains("API format"));
        assert!(
            why(r#"{"1": {"class_type": "SaveImage", "inputs": {"x": "{{prompt}}"}}}"#, None)
                .contains("{{seed}}")
        );
        let unknown = r#"{"1": {"class_type": "SaveImage", "inputs": {"x": "{{promt}}"}}}"#;
        assert!(why(unknown, None).contains("{{promt}}"));
        assert!(why(&format!(r#"{{"1": {{"class_type": "X", {inputs}}}}}"#), None).contains("SaveImage"));
        let two = format!(
            r#"{{"1": {{"class_type": "SaveImage", {inputs}, "_meta": {{"title": "out"}}}}, "2": {{"class_type": "SaveImage", "inputs": {{}}}}}}"#
        );
        assert!(why(&two, None).contains("name one"));
        assert!(why(&two, Some("3")).contains("`3`"));
        for name in ["1", "out"] {
            assert_eq!(Workflow::new(&two, Some(name), None).expect("a template").output, "1");
        }
        let checkpoint =
            Workflow::new(&format!(r#"{{"1": {{"class_type": "SaveImage", {inputs}}}}}"#), None, Some("x"));
        assert!(checkpoint.err().expect("no place").contains("{{checkpoint}}"));
    }

    proptest! {
        #[test]
        fn cut_and_joined_a_string_is_itself(text in "[{}a-c_ ä]{0,24}") {
            prop_assert_eq!(&fill_in(&json!(text), &|_| None), &json!(text));
            let whole: String = pieces(&text)
                .map(|piece| match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::Name(name) => format!("{{{{{name}}}}}"),
                })
                .collect();
            prop_assert_eq!(whole, text);
        }

        #[test]
        fn any_prompt_arrives_as_it_is(prompt in "([{}a-z_\"\\\\ ä]|seed|prompt){0,24}") {
            let values = |name: &str| match name {
                "prompt" => Some(json!(prompt)),
                "seed" => Some(json!(7)),
                _ => None,
            };
            prop_assert_eq!(fill_in(&json!("{{prompt}}"), &values), json!(prompt));
            prop_assert_eq!(fill_in(&json!("x {{prompt}} {{seed}}"), &values), json!(format!("x {prompt} 7")));
        }
    }
}
