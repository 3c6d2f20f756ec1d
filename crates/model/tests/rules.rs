//! Inference rules, shown by the generated Go types; and refused documents, with their paths.

use model::{Error, Model, Source};

/// The types of samples called 1, 2, …, as `RawOrderData: A int; RawXData: B string`.
fn types(samples: &[&str]) -> Result<String, Error> {
    let names: Vec<_> = (1..=samples.len()).map(|n| n.to_string()).collect();
    let samples: Vec<_> = names.iter().zip(samples).map(|(name, json)| Source { name, json }).collect();
    let source = Model::new("order", &samples)?.go();
    let structs = source.split("\ntype ").skip(1).map(one_type);
    Ok(structs.collect::<Vec<_>>().join("; "))
}

fn one_type(source: &str) -> String {
    let (name, body) = source.split_once(" struct {").unwrap_or_default();
    let fields = body.lines().filter(|line| line.contains("`json:") && !line.contains("LocalID string"));
    let fields: Vec<_> =
        fields.filter_map(|line| line.trim().split_once(" `")).map(|(field, _)| field).collect();
    format!("{name}: {}", fields.join(", "))
}

fn check(samples: &[&str], expected: &str) {
    assert_eq!(types(samples).as_deref(), Ok(expected), "{samples:?}");
}

fn check_refused(samples: &[&str], expected: &str) {
    let message = types(samples).map_err(|err| err.to_string());
    assert!(message.as_ref().is_err_and(|message| message.starts_with(expected)), "{samples:?}: {message:?}");
}

#[test]
fn each_kind_has_its_type_and_members_keep_their_order() {
    let json = r#"{"s": "x", "i": -1, "f": 0.5, "b": true, "o": {"x": 1}, "a": [1]}"#;
    check(&[json], "RawOrderData: S string, I int, F float64, B bool, O RawOData, A []int; RawOData: X int");
}

#[test]
fn how_a_number_is_written_makes_it_whole_or_fractional() {
    check(
        &[r#"{"a": 1.0, "b": 1e3, "c": -0, "d": 1E0}"#],
        "RawOrderData: A float64, B float64, C int, D float64",
    );
    let limits = r#"{"a": [-9223372036854775808, 9223372036854775807]}"#;
    check(&[limits], "RawOrderData: A []int");
}

#[test]
fn members_missing_in_some_samples_are_added() {
    check(&[r#"{"a": 1, "b": 1}"#, r#"{"c": "", "a": 2}"#], "RawOrderData: A int, B int, C string");
    check(&["{}", r#"{"a": {}}"#], "RawOrderData: A RawAData; RawAData: ");
}

#[test]
fn whole_beside_fractional_is_fractional() {
    check(&[r#"{"a": 1}"#, r#"{"a": 1.5}"#, r#"{"a": 2}"#], "RawOrderData: A float64");
    check(&[r#"{"a": [0.5, 1]}"#], "RawOrderData: A []float64");
}

#[test]
fn null_beside_a_type_is_that_type() {
    check(&[r#"{"a": null}"#, r#"{"a": "x"}"#, r#"{"a": null}"#], "RawOrderData: A string");
    check(&[r#"{"a": [null, 1, null]}"#], "RawOrderData: A []int");
    check(&[r#"{"a": null}"#, r#"{"a": []}"#, r#"{"a": [{}]}"#], "RawOrderData: A []RawAData; RawAData: ");
}

#[test]
fn all_elements_of_an_array_merge() {
    check(
        &[r#"{"a": [{"x": 1}, {"y": null}, {"y": "s", "x": 1.5}]}"#],
        "RawOrderData: A []RawAData; RawAData: X float64, Y string",
    );
    check(&[r#"{"a": []}"#, r#"{"a": [true]}"#], "RawOrderData: A []bool");
}

#[test]
fn arrays_nest() {
    check(&[r#"{"a": [[], [[]], [[1], []]]}"#], "RawOrderData: A [][][]int");
    check(&[r#"{"a": [[{"x": 1}], []]}"#], "RawOrderData: A [][]RawAData; RawAData: X int");
}

#[test]
fn the_later_of_two_types_of_the_same_name_gets_its_parents_name() {
    check(
        &[r#"{"delivery": {"name": {"a": 1}}, "items": [{"name": {"b": 1}}]}"#],
        "RawOrderData: Delivery RawDeliveryData, Items []RawItemsData; RawDeliveryData: Name RawNameData; \
         RawNameData: A int; RawItemsData: Name RawItemsNameData; RawItemsNameData: B int",
    );
    check(&[r#"{"order": {"a": 1}}"#], "RawOrderData: Order RawOrderOrderData; RawOrderOrderData: A int");
}

#[test]
fn further_types_of_the_same_name_get_a_number() {
    check(
        &[r#"{"n": {"x": 1}, "a_n": {"y": 1}, "a": {"n": {"z": 1}}}"#],
        "RawOrderData: N RawNData, AN RawANData, A RawAData; RawNData: X int; RawANData: Y int; \
         RawAData: N RawAN2Data; RawAN2Data: Z int",
    );
}

#[test]
fn types_that_are_the_same_in_all_members_are_one() {
    check(
        &[r#"{"from": {"at": {"x": 1}}, "to": {"at": {"x": 2}}}"#],
        "RawOrderData: From RawFromData, To RawToData; RawFromData: At RawAtData; RawAtData: X int; \
         RawToData: At RawAtData",
    );
}

#[test]
fn names_that_are_equal_in_go_get_numbers() {
    let json = r#"{"a_b": 1, "aB": 2, "AB": 3, "LocalID": 4, "local_id": 5}"#;
    check(&[json], "RawOrderData: AB int, AB2 int, AB3 int, LocalID2 int, LocalId int");
}

#[test]
fn what_is_no_document_is_refused() {
    assert_eq!(types(&[]), Err(Error::NoSample));
    check_refused(&["[1]"], "1: $ is an array: ");
    check_refused(&["{}", "null"], "2: $ is null: ");
    check_refused(&[r#"{"a": 1,}"#], "1: $: not valid JSON (key must be a string at line 1 column 9): ");
    check_refused(&[""], "1: $: not valid JSON (");
    check_refused(&["{} {}"], "1: $: not valid JSON (trailing characters ");
    check_refused(&[r#"{"a": [1, "\ud800"]}"#], "1: $.a[1]: not valid JSON (");
    check_refused(&[r#"{"a": {"b": 1e999}}"#], "1: $.a.b: not valid JSON (number out of range ");
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    check_refused(
        &[r#"{"a": [{"x": 9223372036854775808}]}"#],
        "1: $.a[0].x is a whole number of more than 64 bits",
    );
    check_refused(&[r#"{"a": -9223372036854775809}"#], "1: $.a is a whole number");
    check_refused(&[r#"{"a": 100000000000000000000000000}"#], "1: $.a is a whole number");
}

#[test]
fn what_has_no_type_is_refused() {
    check_refused(&[r#"{"a": null}"#, r#"{"a": null}"#], "2: $.a is null in every sample");
    check_refused(&[r#"{"a": [{"x": null}]}"#], "1: $.a[0].x is null in every sample");
    check_refused(&[r#"{"a": [null]}"#], "1: $.a[0] is null in every sample");
    check_refused(&[r#"{"a": []}"#, r#"{"a": null}"#], "1: $.a is an empty array in every sample");
    check_refused(&[r#"{"a": [[], []]}"#], "1: $.a[1] is an empty array in every sample");
    for sample in [r#"{"a": null}"#, r#"{"a": []}"#] {
        let message = types(&[sample]).map_err(|err| err.to_string());
        for way in ["in a sample, or leave it out of all samples (UNKNOWN", "JSON Schema", "MODEL=any"] {
            assert!(message.as_ref().is_err_and(|message| message.contains(way)), "{message:?}");
        }
    }
}

#[test]
fn mixed_types_are_refused() {
    check_refused(
        &[r#"{"a": [{"x": 1}]}"#, r#"{"a": [{"x": 1}, {"x": "1"}]}"#],
        "2: $.a[1].x is a string, but 2: $.a[0].x is a whole number: ",
    );
    check_refused(&[r#"{"a": {}}"#, r#"{"a": [1]}"#], "2: $.a is an array, but 1: $.a is an object: ");
    check_refused(
        &[r#"{"a": [0.5, true]}"#],
        "1: $.a[1] is a boolean, but 1: $.a[0] is a fractional number: ",
    );
    check_refused(
        &[r#"{"a": [[1], ["x"]]}"#],
        "1: $.a[1][0] is a string, but 1: $.a[0][0] is a whole number: ",
    );
}

#[test]
fn all_problems_are_named_at_once_each_once() {
    let first =
        r#"{"n": null, "big": 9223372036854775808, "a": [1, "x", "y"], "o": {"x": 1, "x": 2}, "s": "t"}"#;
    let message = types(&[first, "{", r#"{"s": 1, "o": {"x": "z", "e": []}}"#]).unwrap_err().to_string();
    let lines: Vec<_> = message.lines().map(str::trim_start).collect();
    let expected = [
        "8 problems:",
        "1: $.big is a whole number of more than 64 bits",
        "1: $.o.x is repeated",
        "1: $.a[1] is a string, but 1: $.a[0] is a whole number",
        "2: $: not valid JSON",
        "3: $.o.x is a string, but 1: $.o.x is a whole number",
        "3: $.s is a whole number, but 1: $.s is a string",
        "1: $.n is null in every sample",
        "3: $.o.e is an empty array in every sample",
    ];
    assert_eq!(lines.len(), expected.len(), "{message}");
    for start in expected {
        assert!(lines.iter().any(|line| line.starts_with(start)), "no {start} in {message}");
    }
    let many: Vec<_> = (0..1000).map(|n| format!("\"m{n}\": null")).collect();
    let message = types(&[&format!("{{{}}}", many.join(","))]).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 21);
    assert!(message.starts_with("20 problems, and there are more:\n  1: $.m0 is null"), "{message}");
}

#[test]
fn a_name_twice_in_one_object_is_refused() {
    check_refused(&[r#"{"o": {"foo-bar": 1, "foo\u002dbar": 1}}"#], r#"1: $.o["foo-bar"] is repeated"#);
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| format!(r#"{{"a": {}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    check(&[&nested(100)], &format!("RawOrderData: A {}int", "[]".repeat(99)));
    let path = format!("1: $.a{} is nested deeper than 100 levels", "[0]".repeat(99));
    check_refused(&[&nested(101)], &path);
    check_refused(&[&nested(100_000)], &path);
}
