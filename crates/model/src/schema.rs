//! The model as JSON Schema, which can be a model again.

use serde_json::{Map, Value, json};

use crate::model::{Kind, Member, Model};

const DESCRIPTION: &str = "Members that are missing or null are taken as \"\", 0, false or []; \
                           a document that is served has all members and no null.";

const ANY: &str = "Any JSON object, served byte for byte.";

impl Model {
    /// JSON Schema 2020-12 of the document, pretty printed. Nested objects stand where they are used,
    /// without references, so that it can be made part of another document.
    pub fn json_schema(&self) -> String {
        let mut schema = Map::new();
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("description".to_owned(), if self.is_any() { ANY } else { DESCRIPTION }.into());
        schema.extend(self.object(0));
        schema.insert("title".to_owned(), self.name.as_str().into());
        format!("{:#}", Value::Object(schema))
    }

    fn object(&self, index: usize) -> Map<String, Value> {
        let structure = self.structure(index);
        let properties: Map<_, _> = structure
            .members
            .iter()
            .map(|member| (member.json_name.clone(), self.property(member)))
            .collect();
        let mut object = Map::new();
        object.insert("title".to_owned(), self.struct_name(index).into());
        object.insert("type".to_owned(), "object".into());
        object.insert("properties".to_owned(), properties.into());
        if !structure.required.is_empty() {
            object.insert("required".to_owned(), json!(structure.required));
        }
        if structure.closed {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object
    }

    fn property(&self, member: &Member) -> Value {
        let mut property = self.kind(&member.kind);
        if member.nullable {
            property["type"] = json!([property["type"], "null"]);
        }
        let is_leaf = !matches!(member.kind, Kind::Struct(_) | Kind::Slice(_));
        let example = serde_json::from_str::<Value>(&member.example).ok().filter(|_| is_leaf);
        if let (Some(example), Some(property)) = (example, property.as_object_mut()) {
            property.insert("examples".to_owned(), json!([example]));
        }
        property
    }

    fn kind(&self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int => json!({"type": "integer", "format": "int64"}),
            Kind::Float => json!({"type": "number", "format": "double"}),
            Kind::String => json!({"type": "string"}),
            Kind::Struct(index) => Value::Object(self.object(*index)),
            Kind::Slice(element) => json!({"type": "array", "items": self.kind(element)}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn the_schema_keeps_order_and_nests_in_place() {
        let json = r#"{"b": 1, "a": [{"x": 0.5, "on": true}], "s": ["t"]}"#;
        let schema = Model::new("s", &[Source { name: "s.json", json }]).unwrap().json_schema();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let expected = json!({
            "b": {"type": "integer", "format": "int64", "examples": [1]},
            "a": {"type": "array", "items": {
                "title": "RawAData",
                "type": "object",
                "properties": {
                    "x": {"type": "number", "format": "double", "examples": [0.5]},
                    "on": {"type": "boolean", "examples": [true]},
                },
            }},
            "s": {"type": "array", "items": {"type": "string"}},
        });
        assert_eq!(schema["title"], "s");
        assert_eq!(schema["properties"].to_string(), expected.to_string());
    }
}
