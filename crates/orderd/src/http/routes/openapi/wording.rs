//! Rewords the OpenAPI description for models other than orders.

use model::Model;
use serde_json::Value;

use crate::wording::article;

/// The word for several documents, because the plural of a name is unknown.
const TAG: (&str, &str) = ("Orders", "Documents");

/// Uses the model's name for one document, "documents" for several, and the name of the model's type for the schema.
pub(crate) fn use_name_of(model: &Model, api: &mut Value) {
    let Some(schemas) = api["components"]["schemas"].as_object_mut() else { return };
    let document = schemas.shift_remove("Order").unwrap_or_default();
    let type_name = model.shape().go_name;
    let name = type_name.strip_prefix("Raw").and_then(|name| name.strip_suffix("Data")).unwrap_or(type_name);
    let schema = match name {
        // OpenAPI requires ASCII.
        name if !name.is_ascii() => "Document".to_owned(),
        // The name is used by another part of the description.
        name if schemas.contains_key(name) => format!("{name}Document"),
        name => name.to_owned(),
    };
    let words = Words::of(&model.name, &schema);
    words.put_into(api);
    api["components"]["schemas"][&schema] = document;
    api["x-schema"] = schema.into();
    api["info"]["title"] = format!("orderd: {}", model.name).into();
}

/// The replacements.
struct Words<'w> {
    /// Longer ones first.
    prose: [(&'static str, String); 6],
    schema: &'w str,
}

impl<'w> Words<'w> {
    fn of(name: &str, schema: &'w str) -> Self {
        let article = article(name);
        let (first, rest) = article.split_at(1);
        let prose = [
            ("An order", format!("{}{rest} {name}", first.to_uppercase())),
            ("an order", format!("{article} {name}")),
            ("Orders", "Documents".to_owned()),
            ("orders", "documents".to_owned()),
            ("Order", name.to_owned()),
            ("order", name.to_owned()),
        ];
        Self { prose, schema }
    }

    fn put_into(&self, part: &mut Value) {
        match part {
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.put_into(element)),
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), &mut *value) {
                        ("summary" | "description", Value::String(text)) => *text = self.in_prose(text),
                        ("operationId", Value::String(id)) => *id = id.replace("Order", "Document"),
                        ("$ref", Value::String(reference)) if reference.ends_with("/Order") => {
                            *reference = format!("#/components/schemas/{}", self.schema);
                        }
                        ("tags", Value::Array(tags)) => {
                            tags.iter_mut().for_each(|tag| self.put_into_tag(tag))
                        }
                        // Examples are documents, not text about them.
                        ("examples", _) => {}
                        _ => self.put_into(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// Applies to the list of tags, and to an operation.
    fn put_into_tag(&self, tag: &mut Value) {
        let name = if tag.is_object() { &mut tag["name"] } else { &mut *tag };
        if *name == TAG.0 {
            *name = TAG.1.into();
        }
        self.put_into(tag);
    }

    /// Skips names between backticks, such as the event `order`.
    fn in_prose(&self, text: &str) -> String {
        let parts = text.split('`').enumerate();
        let parts =
            parts.map(|(index, part)| if index % 2 == 0 { self.replaced(part) } else { part.to_owned() });
        parts.collect::<Vec<_>>().join("`")
    }

    /// In one pass, so that a name such as "preorder" is not replaced again.
    fn replaced(&self, text: &str) -> String {
        let (mut replaced, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(next) = rest.chars().next() {
            if let Some((from, to)) = self.prose.iter().find(|(from, _)| rest.starts_with(from)) {
                replaced.push_str(to);
                rest = &rest[from.len()..];
            } else {
                replaced.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        replaced
    }
}
