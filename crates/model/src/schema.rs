//! Prints the model as a JSON Schema, from which the same model can be built.

use serde_json::{Map, Value, json};

use crate::model::{Kind, Member, Model};

const DESCRIPTION: &str = "Missing or null members are read as \"\", 0, false or []; \
    a document served from a gob row has all members and no null.";

const KEPT: &str =
    "As the document came: members may be missing, null, of another case, or unknown to the model.";

const ANY: &str = "Any JSON object, served byte for byte.";

/// What a schema describes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The model.
    Model,
    /// A rendered gob row: it has all members, and no `null`.
    Row,
    /// A document of a `json` or `jsonb` row.
    Document,
}

impl Model {
    /// JSON Schema 2020-12 of the document, pretty printed. Nested objects are inlined, without references, so that the
    /// schema can be embedded in another document.
    pub fn json_schema(&self) -> String {
        self.schema(Form::Model)
    }

    /// JSON Schema of a document that is rendered from a gob row: it has all members of the model, and no `null`.
    pub fn row_schema(&self) -> String {
        self.schema(Form::Row)
    }

    /// JSON Schema of a document of a `json` or `jsonb` row: present members fit the model, any member may be `null` or
    /// missing. Names match ignoring case, as in Go, so even a required member may have a name that the schema lacks.
    pub fn document_schema(&self) -> String {
        self.schema(Form::Document)
    }

    fn schema(&self, form: Form) -> String {
        let mut schema = Map::new();
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        let description = match form {
            _ if self.is_any() => ANY,
            Form::Model | Form::Row => DESCRIPTION,
            Form::Document => KEPT,
        };
        schema.insert("description".to_owned(), description.into());
        schema.extend(self.object(0, form));
        schema.insert("title".to_owned(), self.name.as_str().into());
        format!("{:#}", Value::Object(schema))
    }

    fn object(&self, index: usize, form: Form) -> Map<String, Value> {
        let structure = self.structure(index);
        let properties: Map<_, _> = structure
            .members
            .iter()
            .map(|member| (member.json_name.clone(), self.property(member, form)))
            .collect();
        let mut object = Map::new();
        object.insert("title".to_owned(), self.struct_name(index).into());
        object.insert("type".to_owned(), "object".into());
        object.insert("properties".to_owned(), properties.into());
        if form == Form::Document {
            return object;
        }
        let all = structure.members.iter().map(|member| &member.json_name);
        let required = if form == Form::Row { all.collect() } else { Vec::from_iter(&structure.required) };
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        if structure.closed {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object
    }

    fn property(&self, member: &Member, form: Form) -> Value {
        let mut property = self.kind(&member.kind, form);
        if form == Form::Model {
            if member.nullable_elements {
                allow_null_elements(&mut property);
            }
            if member.nullable {
                property["type"] = json!([property["type"], "null"]);
            }
        }
        let is_leaf = !matches!(member.kind, Kind::Struct(_) | Kind::Slice(_));
        let example = serde_json::from_str::<Value>(&member.example).ok().filter(|_| is_leaf);
        if let (Some(example), Some(property)) = (example, property.as_object_mut()) {
            property.insert("examples".to_owned(), json!([example]));
        }
        property
    }

    fn kind(&self, kind: &Kind, form: Form) -> Value {
        let mut schema = match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int => json!({"type": "integer", "format": "int64"}),
            Kind::Float => json!({"type": "number", "format": "double"}),
            Kind::String => json!({"type": "string"}),
            Kind::Struct(index) => Value::Object(self.object(*index, form)),
            Kind::Slice(element) => json!({"type": "array", "items": self.kind(element, form)}),
        };
        if form == Form::Document {
            schema["type"] = json!([schema["type"], "null"]);
        }
        schema
    }
}

/// Lets the elements of an array, and of arrays in it, be `null`.
fn allow_null_elements(array: &mut Value) {
    let mut items = array.get_mut("items");
    while let Some(element) = items {
        element["type"] = json!([element["type"], "null"]);
        items = element.get_mut("items");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn the_schema_of_a_document_that_is_served_as_it_came_promises_no_member() {
        let json = r#"{"type": "object", "required": ["a"], "additionalProperties": false, "properties":
            {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "object", "required": ["c"],
            "properties": {"c": {"type": ["string", "null"]}}}}}}"#;
        let schema = Model::new("s", &[Source { name: "s.json", json }]).unwrap().document_schema();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["type"], "object", "the document itself is never null");
        for text in ["required", "additionalProperties"] {
            assert!(!schema.to_string().contains(text), "{schema}");
        }
        let (a, b) = (&schema["properties"]["a"], &schema["properties"]["b"]);
        let types = [&a["type"], &b["type"], &b["items"]["type"], &b["items"]["properties"]["c"]["type"]];
        let expected = ["integer", "array", "object", "string"].map(|name| json!([name, "null"]));
        assert_eq!(types, expected.each_ref());
    }

    #[test]
    fn the_schema_of_a_rendered_row_requires_every_member_and_allows_no_null() {
        let json = r#"{"type": "object", "required": ["a"], "additionalProperties": false, "properties":
            {"a": {"type": ["integer", "null"]}, "b": {"type": "array", "items": {"type": ["object", "null"],
            "properties": {"c": {"type": ["string", "null"]}, "d": {"type": "boolean"}}}}}}"#;
        let schema = Model::new("s", &[Source { name: "s.json", json }]).unwrap().row_schema();
        assert!(!schema.contains("null\""), "{schema}");
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let element = &schema["properties"]["b"]["items"];
        assert_eq!((&schema["required"], &element["required"]), (&json!(["a", "b"]), &json!(["c", "d"])));
        assert_eq!(schema["additionalProperties"], false);
    }

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
        // `infer` does not know the rows.
        let description = schema["description"].as_str().unwrap();
        assert!(description.contains("served from a gob row has all members"), "{description}");
        assert_eq!(schema["properties"].to_string(), expected.to_string());
    }
}
