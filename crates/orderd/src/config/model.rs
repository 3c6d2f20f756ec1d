//! `MODEL`: the files that define the model, and the defaults of `REQUIRE`, `SEARCH` and `UNKNOWN` that follow from it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Model;
use order::{Parser, SearchPath};

use super::bounded_file::{self, MAX_FILE_BYTES};
use super::{ConfigError, is_none, list, refuse_none_among, wrong};
use crate::cli::{ModelArgs, OrderArgs};

/// The setting for arbitrary JSON objects. A file of that name is `./any`.
const ANY: &str = "any";

/// Defaults of `REQUIRE` and `SEARCH`, as far as the model has these members.
const REQUIRED: [&str; 1] = ["order_uid"];
const SEARCHED: [&str; 2] = ["order_uid", "track_number"];

/// The model of the setting; by default the order.
///
/// # Errors
/// A file that can't be read, or a model that is not valid, with the JSON path.
pub(crate) fn model(args: &ModelArgs) -> Result<Arc<Model>, ConfigError> {
    let model = match args.model.as_deref() {
        None => Model::order().map_err(|error| wrong("MODEL", error)),
        Some(value) => of_value("MODEL", value),
    };
    model.map(Arc::new)
}

/// The model that a value of `setting` names.
///
/// # Errors
/// As [`model()`].
pub(crate) fn of_value(setting: &'static str, value: &str) -> Result<Model, ConfigError> {
    match value.trim() {
        ANY => Ok(Model::any()),
        _ => read(setting, &files(setting, value)?, &called(&first(value))),
    }
}

/// The model of these files, which `setting` or an argument names.
///
/// # Errors
/// As [`model()`].
pub(crate) fn read(setting: &'static str, files: &[PathBuf], name: &str) -> Result<Model, ConfigError> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let text = read_whole(file)
            .map_err(|error| wrong(setting, format!("can't read {}: {error}", file.display())))?;
        // Programs on Windows write a byte order mark.
        texts.push((file.display().to_string(), text.trim_start_matches('\u{feff}').to_owned()));
    }
    let sources: Vec<_> = texts.iter().map(|(name, json)| model::Source { name, json }).collect();
    Model::new(name, &sources).map_err(|error| wrong(setting, error))
}

/// The text of a file of documents; an error if it doesn't end, as with some devices.
fn read_whole(file: &Path) -> io::Result<String> {
    let bytes = bounded_file::read(file)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The files of a setting: one file, several separated by commas, or the `.json` files of a folder.
fn files(setting: &'static str, value: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let whole = Path::new(value.trim());
    if whole.exists() {
        return files_at(setting, whole);
    }
    let mut files = Vec::new();
    for path in list(value) {
        files.extend(files_at(setting, Path::new(&path))?);
    }
    Ok(files)
}

/// The file, or those of the folder.
pub(crate) fn files_at(setting: &'static str, path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| wrong(setting, format!("can't read {}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.retain(|file| is_sample(file));
    if files.is_empty() {
        return Err(wrong(setting, format!("{} has no file that ends in .json", path.display())));
    }
    files.sort();
    Ok(files)
}

/// Whether a file of a folder is read. As in a shell, one that begins with a dot is hidden: editors leave such files.
fn is_sample(file: &Path) -> bool {
    let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    is_json && !is_hidden && !file.is_dir()
}

/// The first file or folder of a setting.
fn first(setting: &str) -> PathBuf {
    let whole = Path::new(setting.trim());
    if whole.exists() {
        return whole.to_owned();
    }
    list(setting).into_iter().next().unwrap_or_default().into()
}

/// The name of a document, from its file: `parcel` for `samples/parcel.json` and `parcel.schema.json`. In a folder, the
/// first file decides, without the number that tells it from the others: `parcel` for `parcel-2.json`.
pub(crate) fn called(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let files = if path.is_dir() { files_at("MODEL", &path).unwrap_or_default() } else { Vec::new() };
    let name = files.first().unwrap_or(&path).file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".json").unwrap_or(&name);
    let name = name.strip_suffix(".schema").unwrap_or(name);
    let is_number = |end: char| end.is_ascii_digit() || "-_. ".contains(end);
    let without_number = if files.len() > 1 { name.trim_end_matches(is_number) } else { name };
    if without_number.is_empty() { name.to_owned() } else { without_number.to_owned() }
}

/// A parser with the rules of the settings.
///
/// # Errors
/// A required member that the model lacks.
pub(crate) fn parser(args: &OrderArgs, model: &Model) -> Result<Parser, ConfigError> {
    let required = members("REQUIRE", args.require.as_deref(), &REQUIRED, model)?;
    let refuses_unknown = args.unknown == crate::cli::UnknownMembers::Refuse;
    Parser::checking(model.shape(), &required, refuses_unknown).map_err(|error| wrong("REQUIRE", error))
}

/// What a process makes of messages, as a text that is equal for processes that accept the same documents and write the
/// same rows of them.
///
/// # Errors
/// A required member that the model lacks.
pub(crate) fn fingerprint(args: &OrderArgs, model: &Model) -> Result<String, ConfigError> {
    let mut required = members("REQUIRE", args.require.as_deref(), &REQUIRED, model)?;
    required.sort_unstable();
    Ok(format!("{} {:?} {}", model.fingerprint(), args.unknown, required.join(",")))
}

/// The members of `SEARCH`, and their paths.
///
/// # Errors
/// A member that the model lacks, or that can't be searched by.
pub(crate) fn search(
    given: Option<&str>,
    model: &Model,
) -> Result<(Vec<String>, Vec<SearchPath>), ConfigError> {
    let members = members("SEARCH", given, &SEARCHED, model)?;
    let paths = order::searchable(model.shape(), &members).map_err(|error| wrong("SEARCH", error))?;
    Ok((members, paths))
}

/// Names of members; `none` for an empty list. By default, those of `usual` that the model has.
fn members(
    setting: &'static str,
    given: Option<&str>,
    usual: &[&str],
    model: &Model,
) -> Result<Vec<String>, ConfigError> {
    let Some(text) = given else {
        if model.is_any() {
            return Ok(Vec::new());
        }
        let has = |name: &&&str| order::searchable(model.shape(), &[(**name).to_owned()]).is_ok();
        return Ok(usual.iter().filter(has).map(|name| (*name).to_owned()).collect());
    };
    let members = names(text);
    match &members[..] {
        [] => Err(wrong(setting, "it names no member; write none for no members")),
        [none] if is_none(none) => Ok(Vec::new()),
        _ => {
            refuse_none_among(setting, &members)?;
            Ok(members)
        }
    }
}

/// A list of names, each once. `\,` is a comma within a name; other escapes belong to the paths.
fn names(text: &str) -> Vec<String> {
    let (mut names, mut letters) = (vec![String::new()], text.chars());
    while let Some(letter) = letters.next() {
        let Some(name) = names.last_mut() else { break };
        match letter {
            ',' | '\n' => names.push(String::new()),
            '\\' => match letters.next() {
                Some(',') => name.push(','),
                Some(escaped) => name.extend([letter, escaped]),
                None => name.push(letter),
            },
            _ => name.push(letter),
        }
    }
    let mut seen = HashSet::new();
    let names = names.into_iter().map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty() && seen.insert(name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::UnknownMembers;

    fn given(model: &str) -> Result<Arc<Model>, String> {
        model_of(Some(model)).map_err(|error| error.to_string())
    }

    fn model_of(model: Option<&str>) -> Result<Arc<Model>, ConfigError> {
        super::model(&ModelArgs { model: model.map(str::to_owned) })
    }

    #[test]
    fn processes_that_accept_other_documents_have_other_fingerprints() {
        let model = model_of(None).unwrap();
        let of = |require: Option<&str>, unknown| {
            let model_args = ModelArgs { model: None };
            fingerprint(
                &OrderArgs { model: model_args, require: require.map(str::to_owned), unknown },
                &model,
            )
            .unwrap()
        };
        let usual = of(None, UnknownMembers::Ignore);
        assert_eq!(of(Some("order_uid"), UnknownMembers::Ignore), usual);
        assert_ne!(of(None, UnknownMembers::Refuse), usual);
        assert_ne!(of(Some("none"), UnknownMembers::Ignore), usual);
        let both = |text| of(Some(text), UnknownMembers::Ignore);
        assert_eq!(both("order_uid,track_number"), both("track_number,order_uid"));
    }

    #[test]
    fn names_are_listed_once_and_may_have_commas() {
        for (text, listed) in [
            ("a, b,\n", &["a", "b"][..]),
            ("a,b,a", &["a", "b"]),
            (r"to\,from,a\.b,c", &["to,from", r"a\.b", "c"]),
            (r"a\\,b", &[r"a\\", "b"]),
            (r"a\", &[r"a\"]),
        ] {
            assert_eq!(names(text), listed, "{text}");
        }
        let folder = devstack::TempDir::new().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, r#"{"to,from": "x", "a": 1}"#).unwrap();
        let model = given(&path.display().to_string()).unwrap();
        assert_eq!(search(Some(r"to\,from,a,a"), &model).unwrap().0, ["to,from", "a"]);
    }

    #[test]
    fn none_stands_alone_with_every_model() {
        let with_member = Model::new("m", &[model::Source { name: "m", json: r#"{"none": "x", "x": "x"}"# }]);
        for model in [Model::any(), Model::order().unwrap(), with_member.unwrap()] {
            for setting in ["REQUIRE", "SEARCH"] {
                assert!(members(setting, Some(" None"), &[], &model).unwrap().is_empty());
                for wrong in ["none,x", "x,None"] {
                    let error = members(setting, Some(wrong), &[], &model).unwrap_err().to_string();
                    assert!(error.starts_with(setting) && error.contains("it takes none alone"), "{error}");
                }
            }
        }
    }

    #[test]
    fn the_order_is_built_in() {
        assert_eq!(model_of(None).unwrap().name, "order");
        assert_eq!(search(None, &model_of(None).unwrap()).unwrap().0, SEARCHED);
    }

    #[test]
    fn files_and_folders_are_read() {
        let folder = devstack::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join("parcels").join(name).display().to_string();
        fs::create_dir(folder.path().join("parcels")).unwrap();
        for (name, text) in [
            ("b.json", r#"{"b": 1}"#),
            ("a,c.json", "\u{feff}{\"a\": 1}"),
            ("notes.txt", "none"),
            ("s.schema.yaml", ""),
            (".#b.json", "{"),
            ("c.JSON", r#"{"c": 1}"#),
        ] {
            fs::write(path(name), text).unwrap();
        }
        fs::create_dir(path("older.json")).unwrap();
        let names = |model: &Model| {
            model.shape().members.iter().map(|member| member.json_name).collect::<Vec<_>>().join(" ")
        };
        let one = given(&path("b.json")).unwrap();
        assert_eq!((one.name.as_str(), names(&one).as_str()), ("b", "b"));
        let comma = given(&path("a,c.json")).unwrap();
        assert_eq!((comma.name.as_str(), names(&comma).as_str()), ("a,c", "a"));
        let all = given(&path("")).unwrap();
        assert_eq!((all.name.as_str(), names(&all).as_str()), ("a,c", "a b c"));
        let two = given(&format!("{}, {}", path("b.json"), path("b.json"))).unwrap();
        assert_eq!((two.name.as_str(), names(&two).as_str()), ("b", "b"));
        // In the order of the list.
        let listed = given(&format!("{},{}", path("c.JSON"), path("b.json"))).unwrap();
        assert_eq!(names(&listed), "c b");
        assert!(search(None, &one).unwrap().0.is_empty());
        let missing = given(&path("none.json")).unwrap_err();
        assert!(missing.starts_with("MODEL: can't read ") && missing.contains("none.json"), "{missing}");
        fs::write(path("b.json"), r#"{"b": [1, "x"]}"#).unwrap();
        let mixed = given(&path("b.json")).unwrap_err();
        assert!(mixed.contains("$.b[1] is a string"), "{mixed}");
    }

    #[test]
    fn a_model_is_called_what_its_file_or_its_title_says() {
        assert_eq!(called(Path::new("samples/parcel.json")), "parcel");
        assert_eq!(called(&first("parcel.schema.json,other.json")), "parcel");
        let folder = devstack::TempDir::new().unwrap();
        for (file, name) in [
            ("parcel-2.json", "parcel-2"),
            ("parcel.json", "parcel"),
            ("package_10.json", "package"),
            ("2.json", "2"),
        ] {
            fs::write(folder.path().join(file), "{}").unwrap();
            assert_eq!(called(folder.path()), name);
        }
    }
}
