//! Where documents are no orders: the description in neutral words, with the model's own name.

use model::Model;
use serde_json::Value;

/// What stands for what, longer ones first.
const NEUTRAL: [(&str, &str); 6] = [
    ("An order", "A document"),
    ("an order", "a document"),
    ("Orders", "Documents"),
    ("orders", "documents"),
    ("Order", "Document"),
    ("order", "document"),
];

/// Says "document" for "order" in all that is prose, and calls the document's schema by the model's name.
pub(crate) fn use_name_of(model: &Model, api: &mut Value) {
    let type_name = model.shape().go_name;
    let name = type_name.strip_prefix("Raw").and_then(|name| name.strip_suffix("Data")).unwrap_or(type_name);
    // Another part of the description may be called so already.
    let schemas = api["components"]["schemas"].as_object_mut();
    let Some(schemas) = schemas else { return };
    let name = if schemas.contains_key(name) { format!("{name}Document") } else { name.to_owned() };
    let document = schemas.shift_remove("Order").unwrap_or_default();
    neutral(api, &name);
    api["components"]["schemas"][&name] = document;
    api["x-schema"] = name.into();
    api["info"]["title"] = format!("orderd: {}", model.name).into();
}

/// Between backticks stand names, such as that of the event `order`.
fn in_neutral_words(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| {
        let is_prose = index % 2 == 0;
        let words = NEUTRAL.iter().filter(|_| is_prose);
        words.fold(part.to_owned(), |part, (from, to)| part.replace(from, to))
    });
    parts.collect::<Vec<_>>().join("`")
}

fn neutral(part: &mut Value, schema: &str) {
    match part {
        Value::Array(elements) => elements.iter_mut().for_each(|element| neutral(element, schema)),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), &mut *value) {
                    ("summary" | "description", Value::String(text)) => {
                        *text = in_neutral_words(text);
                    }
                    ("$ref", Value::String(reference)) if reference.ends_with("/Order") => {
                        *reference = format!("#/components/schemas/{schema}");
                    }
                    // Documents, and not about them.
                    ("example" | "examples", _) => {}
                    _ => neutral(value, schema),
                }
            }
        }
        _ => {}
    }
}
