//! The folder of an import against its mapping, before the first row is stored: is everything there that will be needed?

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::import::ImportOptions;
use super::input::Input;
use super::lines::Lines;
use super::mapping::{Entry, Mapping};
use super::problem::{Problem, help_with_words, quoted};
use super::rows::{Next, RowLimits, Rows};
use super::text::Encoding;

/// Most columns of a file.
const MAX_COLUMNS: usize = 2_000;

/// A file that is open behind its header, with the entry that says what its columns mean.
pub(super) struct Ready {
    pub entry: Entry,
    pub rows: Input,
    pub width: usize,
    pub bytes: u64,
}

/// Everything that an import will read, and what is odd about the folder.
pub(super) struct Checked {
    pub files: Vec<Ready>,
    pub warnings: Vec<String>,
}

/// Opens every mapped file and compares its header with the mapping.
pub(super) fn check(dir: &Path, mapping: &Mapping, options: &ImportOptions) -> Result<Checked, Vec<Problem>> {
    let found = data_files(dir)?;
    if found.is_empty() && !mapping.entries.iter().any(|entry| dir.join(&entry.path).exists()) {
        let help = format!("`{}` expects {}", mapping.file.display(), expected(mapping));
        return Err(vec![Problem::of_file(
            dir,
            "the folder holds no CSV file and no file of JSON Lines",
            Some(help),
        )]);
    }
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for entry in &mapping.entries {
        match open(dir, mapping, entry, options, &found) {
            Ok(ready) => files.push(ready),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let warnings = found
        .iter()
        .filter(|name| !mapping.entries.iter().any(|entry| entry.path == **name))
        .filter(|name| !mapping.ignored.contains(name))
        .map(|name| format!("`{name}` is not imported: map it, or list it under `ignore` with a reason"))
        .collect();
    Ok(Checked { files, warnings })
}

fn expected(mapping: &Mapping) -> String {
    let paths = mapping
        .entries
        .iter()
        .map(|entry| entry.path.as_str())
        .collect::<BTreeSet<_>>();
    quoted(&paths.into_iter().collect::<Vec<_>>())
}

fn data_files(dir: &Path) -> Result<Vec<String>, Vec<Problem>> {
    let unreadable = |error: std::io::Error| {
        let help = "name a folder that exists and that this user may read".to_owned();
        vec![Problem::of_file(
            dir,
            format!("the folder cannot be read: {error}"),
            Some(help),
        )]
    };
    let mut names = Vec::new();
    for item in std::fs::read_dir(dir).map_err(unreadable)? {
        let item = item.map_err(unreadable)?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.to_ascii_lowercase().ends_with(".csv") || is_json(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn open(
    dir: &Path,
    mapping: &Mapping,
    entry: &Entry,
    options: &ImportOptions,
    found: &[String],
) -> Result<Ready, Vec<Problem>> {
    let path = dir.join(&entry.path);
    let one = |message: String, help: Option<String>| vec![mapping.problem(entry.span.clone(), message, help)];
    if !path.is_file() {
        let found = found.iter().map(String::as_str).collect::<Vec<_>>();
        let message = format!("there is no file `{}` in `{}`", entry.path, dir.display());
        return Err(one(message, Some(help_with_words(&entry.path, &found))));
    }
    let unreadable = |error: std::io::Error| {
        one(
            format!("`{}` cannot be read: {error}", path.display()),
            Some("let this user read the file".to_owned()),
        )
    };
    let file = File::open(&path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let limits = RowLimits {
        field_bytes: entry.format.max_field_bytes,
        row_bytes: options.max_row_bytes.max(entry.format.max_field_bytes),
    };
    if is_json(&entry.path) {
        return json(mapping, entry, file, bytes, limits);
    }
    let mut rows = Rows::new(file, entry.format.delimiter, limits);
    let start = rows.peek(3).map_err(unreadable)?;
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        let message = format!("`{}` is UTF-16, which is not read", path.display());
        return Err(one(message, Some("save it as UTF-8".to_owned())));
    }
    if start == [0xef, 0xbb, 0xbf] {
        rows.skip_bytes(3);
    }
    let header = match rows.next().map_err(unreadable)? {
        Next::Row => header(entry, &rows).map_err(|reason| {
            let help = "mend the first line of the file, or its `encoding` in the mapping";
            one(
                format!("the header of `{}`: {reason}", path.display()),
                Some(help.to_owned()),
            )
        })?,
        Next::Bad(reason) => {
            return Err(one(format!("the header of `{}`: {reason}", path.display()), None));
        }
        Next::End => Vec::new(),
    };
    if header.is_empty() {
        // An empty file has nothing to say; its report carries a warning.
        return Ok(Ready {
            entry: entry.clone(),
            rows: Input::Csv(rows),
            width: 0,
            bytes,
        });
    }
    let width = header.len();
    let bound = entry.bind(&header).map_err(|missing| {
        missing
            .into_iter()
            .map(|column| {
                let message = format!("`{}` has no column `{}`", entry.path, column.name);
                let names = header.iter().map(String::as_str).collect::<Vec<_>>();
                let help = if width == 1 && header[0].contains([';', '\t', '|']) {
                    format!("the header is the one text `{}`: set `delimiter`", header[0])
                } else {
                    help_with_words(&column.name, &names)
                };
                mapping.problem(column.span, message, Some(help))
            })
            .collect::<Vec<_>>()
    })?;
    Ok(Ready {
        entry: bound,
        rows: Input::Csv(rows),
        width,
        bytes,
    })
}

/// Whether a file holds one JSON object a line.
fn is_json(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".jsonl") || name.ends_with(".ndjson")
}

/// A file of JSON Lines: there is no header, so which keys it has is known only after its last row.
fn json(mapping: &Mapping, entry: &Entry, file: File, bytes: u64, limits: RowLimits) -> Result<Ready, Vec<Problem>> {
    if entry.format.encoding != Encoding::Utf8 {
        let message = format!("`{}` is JSON, which is always UTF-8", entry.path);
        let help = Some("set `encoding` only in the [file.defaults] of CSV files".to_owned());
        return Err(vec![mapping.problem(entry.span.clone(), message, help)]);
    }
    let (entry, paths) = entry.bind_all();
    Ok(Ready {
        entry,
        width: paths.len(),
        rows: Input::Json(Lines::new(file, limits, paths)),
        bytes,
    })
}

fn header(entry: &Entry, rows: &Rows<File>) -> Result<Vec<String>, String> {
    if rows.width() > MAX_COLUMNS {
        return Err(format!("more than {MAX_COLUMNS} columns"));
    }
    let mut names: Vec<String> = Vec::new();
    for index in 0..rows.width() {
        let name = entry.format.encoding.decode(&rows.cell(index))?.into_owned();
        if !name.is_empty() && names.contains(&name) {
            return Err(format!("the column `{name}` stands there twice"));
        }
        names.push(name);
    }
    Ok(names)
}
