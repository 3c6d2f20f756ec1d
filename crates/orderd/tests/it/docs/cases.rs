//! `docs/cases.md` names a test for each case, `ARCHITECTURE.md` for each invariant, and each test exists.

use devstack::tools;

use super::markdown::Document;

fn read(file: &str) -> String {
    std::fs::read_to_string(tools::workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Whether a file has a test of that name, which is run.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    let Some(index) = lines.iter().position(|line| heads.iter().any(|head| line.starts_with(head.as_str())))
    else {
        return false;
    };
    let attributes: Vec<_> = lines[..index].iter().rev().take_while(|line| line.starts_with("#[")).collect();
    attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

/// The rows of a table whose last cell names a file and a test in it.
fn check_tests(document: &str, of: &str, least: usize) {
    let document = Document::read(document);
    let rows: Vec<_> = document.rows_of(of).collect();
    assert!(rows.len() > least, "{}: {} rows are too few to have been read all", document.name, rows.len());
    for row in rows {
        let [.., test] = &row.cells[..] else { panic!("a row without cells") };
        let [file, name] = &test.code[..] else { panic!("{}: a file and a test", row.cells[0].text) };
        assert!(is_test(&read(file), name), "{}: there is no test {name} in {file}", row.cells[0].text);
    }
}

#[test]
fn each_case_has_a_test_that_is_there() {
    check_tests("docs/cases.md", "case", 30);
}

#[test]
fn each_invariant_has_a_test_that_is_there() {
    check_tests("ARCHITECTURE.md", "invariant", 10);
}

#[test]
fn each_folder_of_the_map_is_there() {
    let document = Document::read("ARCHITECTURE.md");
    let folders: Vec<_> = document.rows_of("folder").flat_map(|row| &row.cells[0].code).collect();
    assert!(folders.len() > 10, "{folders:?}");
    for folder in folders {
        assert!(tools::workspace().join(folder).is_dir(), "{folder} is not a folder");
    }
}

#[test]
fn each_answer_of_the_questions_for_newcomers_is_there() {
    let document = Document::read("CONTRIBUTING.md");
    let mut asked = 0;
    for row in document.rows_of("question") {
        let paths: Vec<_> = row.cells[1].code.iter().filter(|code| code.contains('/')).collect();
        assert!(!paths.is_empty(), "{}: no answer", row.cells[0].text);
        for path in paths {
            assert!(tools::workspace().join(path).exists(), "{}: {path} is not there", row.cells[0].text);
        }
        asked += 1;
    }
    assert_eq!(asked, 10);
}

#[test]
fn functions_that_are_no_tests_are_told_from_tests() {
    let text = "#[test]\nfn one() {}\n    #[tokio::test(flavor = \"x\")]\n    #[cfg(a)]\n    async fn two() {}\n\
                fn three() {}\n#[test]\n#[ignore = \"slow\"]\nfn four() {}\n";
    assert_eq!(
        ["one", "two", "three", "four", "five", "on"].map(|name| is_test(text, name)),
        [true, true, false, false, false, false]
    );
}

#[test]
fn guides_for_moving_name_the_characters_that_go_escapes() {
    for guide in ["docs/MOVING.md", "docs/MOVING.ru.md"] {
        let text = read(guide);
        for character in ["`<`", "`>`", "`&`", "U+2028", "U+2029"] {
            assert!(text.contains(character), "{guide}: {character}");
        }
    }
}
