//! Reads a JSON Schema into the same tree as merged samples.
//!
//! Accepts what a model can express: objects with `properties`, arrays with `items`, the types string, integer, number
//! and boolean, each also with null, `required`, `additionalProperties: false`, and `$ref` into `$defs`. Skips keywords
//! that only describe. Refuses all others, because documents would not be checked against them.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::infer::{Kind, MAX_MEMBERS, Object, Observation};
use crate::path::Path;
use crate::problems::Problems;
use crate::sample::MAX_DEPTH;
use crate::{Error, SampleLocation, Source};

/// Keywords that describe without constraining.
const DESCRIBING: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentMediaType",
    "contentEncoding",
];

/// A schema that was read.
pub(crate) struct Schema<'a> {
    pub(crate) title: Option<String>,
    pub(crate) seen: Observation<'a>,
    /// A valid document.
    pub(crate) example: String,
}

/// Whether a document is a schema and not a sample: it has `$schema`, or it describes an object.
pub(crate) fn is_schema(source: &Source<'_>) -> bool {
    let Ok(Value::Object(document)) = serde_json::from_str(source.json) else { return false };
    document.get("$schema").is_some_and(Value::is_string)
        || (document.get("type").is_some_and(|it| it == "object")
            && document.get("properties").is_some_and(Value::is_object))
}

impl<'a> Schema<'a> {
    pub(crate) fn read(source: &Source<'a>) -> Result<Self, Error> {
        let root: Value = serde_json::from_str(source.json).map_err(|error| Error::Syntax {
            location: SampleLocation::new(source.name, &Path::default()),
            reason: error.to_string(),
        })?;
        let mut problems = Problems::default();
        source.refuse_repeats(&mut problems);
        let mut reader = Reader { name: source.name, root: &root, members: 0, problems };
        let at = At { schema: Path::default(), document: Path::default() };
        let seen = reader.seen(&root, &at, &mut Vec::new());
        if !matches!(seen.kind, Kind::Object(_) | Kind::Invalid) {
            let problem = "has to be \"object\", because documents are objects";
            reader.wrong(&at.schema.member("type"), problem);
        }
        let seen = reader.problems.refuse_or(Some(seen))?;
        let title =
            root.get("title").and_then(Value::as_str).map(str::trim).filter(|title| !title.is_empty());
        let given = root.get("examples").and_then(|examples| examples.get(0)).filter(|it| it.is_object());
        let example = given.map_or_else(|| example(&seen), Value::to_string);
        Ok(Self { title: title.map(str::to_owned), seen, example })
    }
}

/// A path in the schema, and the path in documents that it describes.
struct At {
    schema: Path,
    document: Path,
}

struct Reader<'a, 's> {
    name: &'a str,
    root: &'s Value,
    members: usize,
    problems: Problems,
}

impl<'a, 's> Reader<'a, 's> {
    /// `refs` are the references being followed. Invalid if there is a problem.
    fn seen(&mut self, schema: &'s Value, at: &At, refs: &mut Vec<&'s str>) -> Observation<'a> {
        let Value::Object(keywords) = schema else {
            self.wrong(&at.schema, "has to be an object with a type");
            return self.invalid(at);
        };
        if let Some(reference) = keywords.get("$ref") {
            return self.referred(keywords, reference, at, refs).unwrap_or_else(|| self.invalid(at));
        }
        let Some((name, nullable)) = self.type_name(keywords, at) else { return self.invalid(at) };
        let own: &[&str] = match name {
            "object" => &["type", "properties", "required", "additionalProperties"],
            "array" => &["type", "items"],
            _ => &["type"],
        };
        self.refuse_others(keywords, own, at);
        let kind = match name {
            "object" => self.object(keywords, at, refs).map_or(Kind::Invalid, Kind::Object),
            "array" => {
                self.items(keywords, at, refs).map_or(Kind::Invalid, |items| Kind::Array(Box::new(items)))
            }
            "string" => Kind::String,
            "integer" => Kind::Int,
            "number" => Kind::Float,
            _ => Kind::Bool,
        };
        let text = example_of(keywords, &kind);
        Observation { sample: self.name, path: at.document.clone(), text: text.into(), kind, nullable }
    }

    fn invalid(&self, at: &At) -> Observation<'a> {
        let path = at.document.clone();
        Observation { sample: self.name, path, text: "".into(), kind: Kind::Invalid, nullable: false }
    }

    /// The type's name, and whether `null` is one of its values.
    fn type_name(&mut self, keywords: &'s Map<String, Value>, at: &At) -> Option<(&'s str, bool)> {
        const TAKES: &str =
            "has to be string, integer, number, boolean, object or array, or one of them and null";
        let location = at.schema.member("type");
        let mut names: Vec<&str> = match keywords.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            None if keywords.contains_key("properties") => vec!["object"],
            None => {
                // A keyword such as `anyOf` or `enum` instead makes a better error.
                if !self.refuse_others(keywords, &[], at) {
                    self.wrong(&at.schema, "says no type");
                }
                return None;
            }
            Some(_) => Vec::new(),
        };
        let count = names.len();
        names.retain(|name| *name != "null");
        let is_known =
            |name: &&str| ["string", "integer", "number", "boolean", "object", "array"].contains(name);
        match names[..] {
            [name] if is_known(&name) => Some((name, count > 1)),
            ["integer", "number"] | ["number", "integer"] => Some(("number", count > 2)),
            _ => {
                self.wrong(&location, TAKES);
                None
            }
        }
    }

    /// Returns whether there are such keywords.
    fn refuse_others(&mut self, keywords: &Map<String, Value>, own: &[&str], at: &At) -> bool {
        let is_known =
            |name: &str| own.contains(&name) || DESCRIBING.contains(&name) || name.starts_with("x-");
        let mut has_others = false;
        for name in keywords.keys().filter(|name| !is_known(name)) {
            has_others = true;
            self.problems.add(self.name, &at.schema.member(name), |location| Error::Keyword { location });
        }
        has_others
    }

    fn referred(
        &mut self,
        keywords: &'s Map<String, Value>,
        reference: &'s Value,
        at: &At,
        refs: &mut Vec<&'s str>,
    ) -> Option<Observation<'a>> {
        self.refuse_others(keywords, &["$ref"], at);
        let location = at.schema.member("$ref");
        let found = reference.as_str().and_then(|pointer| {
            // A fragment of a URL may be percent-encoded.
            let local = percent_decode_str(pointer.strip_prefix('#')?).decode_utf8().ok()?;
            let of_definitions = local.starts_with("/$defs/") || local.starts_with("/definitions/");
            let schema = self.root.pointer(&local).filter(|_| of_definitions)?;
            Some((pointer, local, schema))
        });
        let Some((pointer, local, schema)) = found else {
            self.wrong(&location, "has to name a schema in $defs of this file, as #/$defs/address");
            return None;
        };
        if refs.contains(&pointer) {
            self.wrong(&location, "refers to itself: models can't be recursive");
            return None;
        }
        refs.push(pointer);
        // As JSON Pointer escapes names.
        let steps = local.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        let at = At {
            schema: steps.fold(Path::default(), |path, step| path.member(&step)),
            document: at.document.clone(),
        };
        let seen = self.seen(schema, &at, refs);
        refs.pop();
        Some(seen)
    }

    fn object(
        &mut self,
        keywords: &'s Map<String, Value>,
        at: &At,
        refs: &mut Vec<&'s str>,
    ) -> Option<Object<'a>> {
        self.check_depth(at)?;
        let location = at.schema.member("properties");
        let mut members = Vec::new();
        match keywords.get("properties") {
            None => {}
            Some(Value::Object(properties)) => {
                for (name, schema) in properties {
                    self.members += 1;
                    if self.members > MAX_MEMBERS {
                        // Once: each object around this one has too many too.
                        if self.members == MAX_MEMBERS + 1 {
                            let too_many = |location| Error::TooManyMembers { location };
                            self.problems.add(self.name, &location, too_many);
                        }
                        return None;
                    }
                    let at = At { schema: location.member(name), document: at.document.member(name) };
                    members.push((name.clone(), self.seen(schema, &at, refs)));
                }
            }
            Some(_) => {
                self.wrong(&location, "has to be an object");
                return None;
            }
        }
        let required = self.required(keywords, &members, at);
        let closed = match keywords.get("additionalProperties") {
            None | Some(Value::Bool(true)) => false,
            Some(Value::Bool(false)) => true,
            Some(_) => {
                self.wrong(&at.schema.member("additionalProperties"), "has to be true or false");
                false
            }
        };
        Some(Object { members, required, closed })
    }

    fn required(
        &mut self,
        keywords: &Map<String, Value>,
        members: &[(String, Observation<'_>)],
        at: &At,
    ) -> Vec<String> {
        let location = at.schema.member("required");
        let Some(required) = keywords.get("required") else { return Vec::new() };
        let names = required.as_array().map(|names| names.iter().map(Value::as_str).collect());
        let Some(names): Option<Vec<&str>> = names.and_then(|names: Option<_>| names) else {
            self.wrong(&location, "has to be an array of names");
            return Vec::new();
        };
        for name in names.iter().filter(|name| !members.iter().any(|(member, _)| member == *name)) {
            self.wrong(&location, &format!("names {name:?}, which is not one of the properties"));
        }
        names.into_iter().map(str::to_owned).collect()
    }

    fn items(
        &mut self,
        keywords: &'s Map<String, Value>,
        at: &At,
        refs: &mut Vec<&'s str>,
    ) -> Option<Observation<'a>> {
        self.check_depth(at)?;
        let Some(items) = keywords.get("items") else {
            let problem = "is an array without items, so that the type of its elements is unknown";
            self.wrong(&at.schema, problem);
            return None;
        };
        let at = At { schema: at.schema.member("items"), document: at.document.index(0) };
        Some(self.seen(items, &at, refs))
    }

    fn check_depth(&mut self, at: &At) -> Option<()> {
        if at.document.depth() < MAX_DEPTH {
            return Some(());
        }
        self.problems.add(self.name, &at.schema, |location| Error::TooDeep { location, limit: MAX_DEPTH });
        None
    }

    fn wrong(&mut self, part: &Path, problem: &str) {
        let problem = problem.to_owned();
        self.problems.add(self.name, part, |location| Error::Schema { location, problem });
    }
}

/// An example value as JSON: from the schema, or a default. Text is not empty, because `REQUIRE` refuses that.
fn example_of(keywords: &Map<String, Value>, kind: &Kind<'_>) -> String {
    let examples = keywords.get("examples").and_then(Value::as_array).into_iter().flatten();
    let default = keywords.get("default").filter(|default| default.as_str() != Some(""));
    let fits = |value: &&Value| match kind {
        Kind::String => value.is_string(),
        Kind::Int => value.is_i64(),
        Kind::Float => value.is_number(),
        Kind::Bool => value.is_boolean(),
        _ => false,
    };
    if let Some(value) = examples.chain(keywords.get("example")).chain(default).find(fits) {
        return value.to_string();
    }
    match kind {
        Kind::String => Value::from(text_of(keywords.get("format").and_then(Value::as_str))).to_string(),
        Kind::Int => "0".to_owned(),
        Kind::Float => "0.5".to_owned(),
        Kind::Bool => "true".to_owned(),
        _ => String::new(),
    }
}

/// A text of a format of JSON Schema.
fn text_of(format: Option<&str>) -> &'static str {
    match format.unwrap_or_default() {
        "date-time" => "2026-01-31T12:00:00Z",
        "date" => "2026-01-31",
        "time" => "12:00:00Z",
        "duration" => "PT1H",
        "email" | "idn-email" => "name@example.com",
        "hostname" | "idn-hostname" => "host.example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "iri" => "https://example.com/path",
        "uri-reference" | "iri-reference" => "/path",
        "uri-template" => "https://example.com/{id}",
        "uuid" => "123e4567-e89b-42d3-a456-426614174000",
        "json-pointer" => "/path",
        "relative-json-pointer" => "0/path",
        "regex" => "^a+$",
        "byte" => "ZXhhbXBsZQ==",
        _ => "example",
    }
}

fn example(seen: &Observation<'_>) -> String {
    match &seen.kind {
        Kind::Object(object) => {
            let member = |(name, seen): &(String, Observation<'_>)| {
                format!("{}:{}", Value::from(name.as_str()), example(seen))
            };
            format!("{{{}}}", object.members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        Kind::Array(element) => format!("[{}]", example(element)),
        _ => seen.text.to_string(),
    }
}
