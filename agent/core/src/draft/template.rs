//! Templates: from files to something that can render, with every problem found before the first document.

use std::collections::BTreeMap;

use handlebars::{Handlebars, Template, TemplateErrorReason};

use super::check::{FindingKind, check_stored};
use super::input::{DocumentKind, DraftInput};
use super::lint::Lint;
use super::marks;
use super::render::render;
use super::scan::{Scan, scan};
use super::slots::{Declaration, read_declaration};
use super::text::escape_markdown;
use crate::replay::Hash;

/// Longest template text that is read.
pub const TEMPLATE_BYTES_MAX: usize = 256 * 1024;

/// Something wrong in a template or a declaration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateProblem {
    /// File, as it was named to [`Templates::compile`].
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl std::fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// The template engine with our settings, and the file each partial comes from.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    pub(super) engine: Handlebars<'static>,
    partials: BTreeMap<String, String>,
}

impl Registry {
    fn new() -> Registry {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        // Documents are Markdown; HTML is made from the Markdown, so this is the one escape function there is.
        engine.register_escape_fn(escape_markdown);
        marks::register(&mut engine);
        Registry {
            engine,
            partials: BTreeMap::new(),
        }
    }

    /// A partial with its file.
    pub(super) fn partial(&self, name: &str) -> Option<(&str, &Template)> {
        let file = self.partials.get(name)?;
        self.engine.get_template(name).map(|template| (file.as_str(), template))
    }

    /// Names of all partials.
    pub(super) fn partial_names(&self) -> impl Iterator<Item = &str> {
        self.partials.keys().map(String::as_str)
    }
}

/// A set of templates that passed every check.
#[derive(Debug, Clone)]
pub struct Templates {
    pub(super) registry: Registry,
    declarations: BTreeMap<DocumentKind, Declaration>,
    hash: Hash,
}

impl Templates {
    /// Compiles templates (`qbr.hbs`, `renewal_proposal.hbs`, `partials/*.hbs`) with their declarations (`*.toml`),
    /// given by their path inside the content folder. Files of `cases/` and files that are neither are left alone.
    ///
    /// # Errors
    /// Every problem found, in the order of file, line and column. A set with a problem is not used at all.
    pub fn compile(files: &BTreeMap<String, String>) -> Result<Templates, Vec<TemplateProblem>> {
        let mut problems = Vec::new();
        let mut registry = Registry::new();
        let mut scans: BTreeMap<String, Scan> = BTreeMap::new();
        let mut hashed: Vec<&str> = Vec::new();

        for (file, text) in files {
            let Some(stem) = file.strip_suffix(".hbs") else {
                continue;
            };
            let partial = stem.strip_prefix("partials/");
            if file.starts_with("cases/") {
                continue;
            }
            hashed.extend([file.as_str(), text.as_str()]);
            let name = partial.unwrap_or(stem);
            if let Some(problem) = misplaced(file, text, partial.is_some(), name) {
                problems.push(problem);
                continue;
            }
            let before = problems.len();
            let scanned = scan(file, text, &mut problems);
            // A digit in the text does not keep us from reading on; a block that is not closed does.
            if let Err(error) = registry.engine.register_template_string(name, text) {
                if problems.len() == before {
                    problems.push(reworded(file, &error));
                }
                continue;
            }
            if partial.is_some() {
                registry.partials.insert(name.to_owned(), file.clone());
            }
            scans.insert(file.clone(), scanned);
        }

        let mut declarations = BTreeMap::new();
        for &document in DocumentKind::ALL {
            let (template, inputs) = (format!("{document}.hbs"), format!("{document}.toml"));
            for file in [&template, &inputs] {
                if !files.contains_key(file) {
                    problems.push(missing(file, document));
                }
            }
            let Some((name, text)) = files.get_key_value(&inputs) else {
                continue;
            };
            hashed.extend([name.as_str(), text.as_str()]);
            let Some(declaration) = read_declaration(document, &inputs, text, &mut problems) else {
                continue;
            };
            if let Some((file, _)) = scans.get_key_value(&template)
                && let Some(compiled) = registry.engine.get_template(document.as_str())
            {
                let mut lint = Lint {
                    declaration: &declaration,
                    scans: &scans,
                    registry: &registry,
                    problems: Default::default(),
                };
                lint.document(file, compiled);
                problems.extend(lint.problems);
            }
            declarations.insert(document, declaration);
        }

        problems.sort();
        problems.dedup();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Templates {
            registry,
            declarations,
            hash: Hash::of_parts(&hashed),
        })
    }

    /// Renders every document with every case (a [`DraftInput`] as JSON, by file name) and checks the result. Addresses
    /// are let pass: a case with hostile names has some. Run it before a new set replaces a good one.
    #[must_use]
    pub fn check_cases(&self, cases: &BTreeMap<String, String>) -> Vec<TemplateProblem> {
        let mut problems = Vec::new();
        for (file, text) in cases {
            let mut problem = |line: usize, column: usize, message: String| {
                let file = file.clone();
                problems.push(TemplateProblem {
                    file,
                    line: line.max(1),
                    column: column.max(1),
                    message,
                    help: None,
                });
            };
            let input: DraftInput = match serde_json::from_str(text) {
                Ok(input) => input,
                Err(error) => {
                    let words = error.to_string();
                    let words = words
                        .rsplit_once(" at line ")
                        .map_or(words.as_str(), |(words, _)| words);
                    problem(
                        error.line(),
                        error.column(),
                        format!("the case cannot be read: {words}"),
                    );
                    continue;
                }
            };
            for &document in DocumentKind::ALL {
                match render(self, document, &input) {
                    Err(error) => problem(1, 1, format!("`{document}` is not made from this case: {error}")),
                    Ok(draft) => {
                        for finding in check_stored(&draft, &input) {
                            if finding.kind != FindingKind::Address {
                                let message = format!(
                                    "`{document}`, line {} of the document: {}",
                                    finding.line, finding.message
                                );
                                problem(1, 1, message);
                            }
                        }
                    }
                }
            }
        }
        problems
    }

    /// The hash of every file the set was made from: a draft is named with it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What a document may use.
    #[must_use]
    pub fn declaration(&self, document: DocumentKind) -> Option<&Declaration> {
        self.declarations.get(&document)
    }
}

fn missing(file: &str, document: DocumentKind) -> TemplateProblem {
    TemplateProblem {
        file: file.to_owned(),
        line: 1,
        column: 1,
        message: format!("the file is missing: `{document}` needs a template and a list of its inputs"),
        help: None,
    }
}

fn misplaced(file: &str, text: &str, partial: bool, name: &str) -> Option<TemplateProblem> {
    let problem = |message: String, help: Option<String>| {
        Some(TemplateProblem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message,
            help,
        })
    };
    if text.len() > TEMPLATE_BYTES_MAX {
        return problem(format!("the file is longer than {TEMPLATE_BYTES_MAX} bytes"), None);
    }
    if !partial && DocumentKind::from_word(name).is_none() {
        let known: Vec<String> = DocumentKind::ALL.iter().map(|kind| format!("{kind}.hbs")).collect();
        let help = format!("documents are {}; shared text goes into `partials/`", known.join(", "));
        return problem(format!("there is no document `{name}`"), Some(help));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    if partial && (!name.chars().all(plain) || name.is_empty() || DocumentKind::from_word(name).is_some()) {
        return problem(
            "a partial is named in small letters and `_`, and not like a document".to_owned(),
            None,
        );
    }
    None
}

/// The words of the template engine, for people.
// The enum belongs to the template engine and may grow.
#[expect(clippy::wildcard_enum_match_arm)]
fn reworded(file: &str, error: &handlebars::TemplateError) -> TemplateProblem {
    let (line, column) = error.pos().unwrap_or((1, 1));
    let (message, help) = match error.reason() {
        TemplateErrorReason::InvalidParam(param) => (format!("`{param}` cannot be read as a name"), None),
        TemplateErrorReason::NestedSubexpression => ("brackets inside a tag are not used here".to_owned(), None),
        TemplateErrorReason::MismatchingClosedHelper(open, close)
        | TemplateErrorReason::MismatchingClosedDecorator(open, close) => {
            (format!("the block `{open}` is closed as `{close}`"), None)
        }
        // What the parser expected at this place says more about its grammar than about the mistake.
        _ => (
            "this tag cannot be read".to_owned(),
            Some("a tag is `{{name}}`, `{{fig \"name\"}}`, `{{#block name}}…{{/block}}` or `{{> partial}}`".to_owned()),
        ),
    };
    TemplateProblem {
        file: file.to_owned(),
        line: line.max(1),
        column: column.max(1),
        message,
        help,
    }
}
