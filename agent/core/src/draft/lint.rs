//! The second reading of a template: every name in it against what the document declares.
//!
//! Strict mode of the template engine is not enough: `{{#if customer.vip}}` passes without a word when there is no
//! such thing, and an unknown helper shows up only when the line is rendered. Here each path, helper and partial is
//! looked up before the first document is made.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::Template;
use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};

use super::scan::Scan;
use super::slots::{Declaration, SlotKind};
use super::template::{Registry, TemplateProblem};
use super::text::did_you_mean;

/// Helpers that print.
const PRINT: [&str; 2] = ["fig", "say"];
/// Helpers that open a block.
const BLOCKS: [&str; 6] = ["each", "if", "known", "negative", "positive", "unless"];

/// What a path leads to.
enum Found {
    Slot(SlotKind),
    Figure,
    /// `this` inside a list.
    Line,
    /// `@first`, `@last`.
    Loop,
}

pub(super) struct Lint<'a> {
    pub(super) declaration: &'a Declaration,
    pub(super) scans: &'a BTreeMap<String, Scan>,
    pub(super) registry: &'a Registry,
    pub(super) problems: BTreeSet<TemplateProblem>,
}

/// Where a piece of template stands.
#[derive(Clone)]
struct Place<'a> {
    file: &'a str,
    /// Lists around it, outermost first, as prefixes such as `contracts.`; the first is empty.
    scopes: Vec<String>,
    /// Names known to be there: `{{#if}}` around it.
    sure: Vec<String>,
    /// Partials on the way here.
    partials: Vec<String>,
    /// Place of the tag.
    line: usize,
    column: usize,
    /// Whether the place is of an outer tag: blocks behind `else` carry none.
    vague: bool,
}

impl<'a> Lint<'a> {
    /// Checks a whole document.
    pub(super) fn document(&mut self, file: &'a str, template: &'a Template) {
        let place = Place {
            file,
            scopes: vec![String::new()],
            sure: Vec::new(),
            partials: Vec::new(),
            line: 1,
            column: 1,
            vague: true,
        };
        self.walk(template, &place);
    }

    fn problem(&mut self, place: &Place<'_>, word: &str, message: String, help: Option<String>) {
        let (line, column) = match self.scans.get(place.file) {
            Some(scan) if place.vague => scan.locate_after(place.line, place.column, word),
            Some(scan) => scan.locate(place.line, place.column, word),
            None => (place.line, place.column),
        };
        self.problems.insert(TemplateProblem {
            file: place.file.to_owned(),
            line,
            column,
            message,
            help,
        });
    }

    fn walk(&mut self, template: &'a Template, outer: &Place<'a>) {
        for (i, element) in template.elements.iter().enumerate() {
            let mut place = outer.clone();
            match template.mapping.get(i) {
                Some(mapping) => {
                    (place.line, place.column) = (mapping.0, mapping.1);
                    place.vague = false;
                }
                None => place.vague = true,
            }
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(tag) => self.print(tag, &place),
                TemplateElement::HelperBlock(tag) => self.block(tag, &place),
                TemplateElement::PartialExpression(tag) => self.partial(tag, &place),
                // The first reading has refused these with their place.
                TemplateElement::HtmlExpression(_)
                | TemplateElement::DecoratorExpression(_)
                | TemplateElement::DecoratorBlock(_)
                | TemplateElement::PartialBlock(_) => {}
                // The enum of the template engine may grow.
                _ => self.problem(&place, "", "a kind of tag that is not used here".to_owned(), None),
            }
        }
    }

    fn print(&mut self, tag: &HelperTemplate, place: &Place<'_>) {
        let Some(name) = tag.name.as_name() else {
            self.problem(place, "", "a tag in brackets is not used here".to_owned(), None);
            return;
        };
        if PRINT.contains(&name) {
            self.print_helper(name, tag, place);
        } else if BLOCKS.contains(&name) {
            let help = format!("write `{{{{#{name} …}}}}` and close it with `{{{{/{name}}}}}`");
            self.problem(place, name, format!("`{name}` opens a block"), Some(help));
        } else if !tag.params.is_empty() || !tag.hash.is_empty() {
            let help = did_you_mean(name, PRINT.into_iter().chain(BLOCKS));
            self.problem(place, name, format!("there is no helper `{name}`"), help);
        } else {
            self.print_path(name, place);
        }
    }

    fn print_path(&mut self, path: &str, place: &Place<'_>) {
        let Some((full, found)) = self.resolve(path, place) else {
            return;
        };
        let (message, help) = match found {
            Found::Slot(SlotKind::Text | SlotKind::Day) => {
                if let Some(unsure) = self.unsure(&full, place) {
                    let help =
                        format!("put `{{{{#if …}}}}` around it, with `{{{{else}}}}` for when `{unsure}` is not known");
                    self.problem(
                        place,
                        path,
                        format!("`{unsure}` is optional and may be empty here"),
                        Some(help),
                    );
                }
                return;
            }
            Found::Figure => (format!("`{path}` is a figure"), format!("write `{{{{fig {path}}}}}`")),
            Found::Slot(SlotKind::Statement) => (
                format!("`{path}` is a sentence with figures"),
                format!("write `{{{{say {path}}}}}`"),
            ),
            Found::Slot(SlotKind::Flag) | Found::Loop => (
                format!("`{path}` is true or false"),
                format!("write `{{{{#if {path}}}}}…{{{{/if}}}}`"),
            ),
            Found::Slot(SlotKind::List) => (format!("`{path}` is a list"), format!("write `{{{{#each {path}}}}}`")),
            Found::Slot(SlotKind::Record) | Found::Line => (
                format!("`{path}` is a group of slots"),
                format!("write one of them: {}", self.children(&full)),
            ),
        };
        self.problem(place, path, message, Some(help));
    }

    fn print_helper(&mut self, name: &str, tag: &HelperTemplate, place: &Place<'_>) {
        let [param] = tag.params.as_slice() else {
            let help = format!("write `{{{{{name} …}}}}` with one name");
            self.problem(place, name, format!("`{name}` prints one thing"), Some(help));
            return;
        };
        for (key, value) in tag.hash.iter().collect::<BTreeMap<_, _>>() {
            let fits = matches!(value, Parameter::Literal(value) if matches!(value.as_str(), Some("size" | "signed")));
            if name != "fig" || key != "show" || !fits {
                let help = Some("`fig` knows `show=\"size\"` (without the sign) and `show=\"signed\"`".to_owned());
                self.problem(place, key, format!("`{key}=…` means nothing here"), help);
            }
        }
        if name == "fig" {
            self.figure(param, place);
        } else if let Some(path) = self.path(param, place) {
            match self.resolve(path, place) {
                None | Some((_, Found::Slot(SlotKind::Statement))) => {}
                Some((_, Found::Figure)) => {
                    self.problem(
                        place,
                        path,
                        format!("`{path}` is a figure"),
                        Some(format!("write `{{{{fig {path}}}}}`")),
                    );
                }
                Some(_) => {
                    let help = Some("`say` prints a sentence with figures".to_owned());
                    self.problem(place, path, format!("`{path}` is not a sentence"), help);
                }
            }
        }
    }

    /// A figure: a name in quotes (of the whole document) or a path (of the line it stands in).
    fn figure(&mut self, param: &Parameter, place: &Place<'_>) {
        if let Parameter::Literal(value) = param {
            let name = value.as_str().unwrap_or_default();
            if name.contains('.') || !self.declaration.figures.contains_key(name) {
                let offered = self
                    .declaration
                    .figures
                    .keys()
                    .map(String::as_str)
                    .filter(|n| !n.contains('.'));
                let help = did_you_mean(name, offered).or_else(|| Some(self.declare("figure")));
                self.problem(place, name, format!("the document declares no figure `{name}`"), help);
            }
            return;
        }
        let Some(path) = self.path(param, place) else {
            return;
        };
        match self.resolve(path, place) {
            None | Some((_, Found::Figure)) => {}
            Some(_) => {
                let help =
                    Some("figures carry evidence; a name or a day of the input is printed without `fig`".to_owned());
                self.problem(place, path, format!("`{path}` is not a figure"), help);
            }
        }
    }

    fn block(&mut self, tag: &'a HelperTemplate, place: &Place<'a>) {
        let name = tag.name.as_name().unwrap_or_default();
        let mut inside = place.clone();
        inside.vague = true;
        let outside = inside.clone();
        if tag.block_param.is_some() {
            let help = Some("inside the block, write the name of the slot".to_owned());
            self.problem(place, name, "`as |…|` is not used here".to_owned(), help);
        }
        if let Some(key) = tag.hash.keys().min() {
            self.problem(place, key, format!("`{key}=…` means nothing here"), None);
        }
        match (name, tag.params.as_slice()) {
            ("known", [_, ..]) | ("positive" | "negative", [_]) => {
                for param in &tag.params {
                    self.figure(param, place);
                }
            }
            ("if" | "unless", [param]) => {
                if let Some(path) = self.path(param, place)
                    && let Some((full, found)) = self.resolve(path, place)
                {
                    match found {
                        Found::Figure => {
                            let help = Some(format!(
                                "write `{{{{#known {path}}}}}`: a figure that is zero is still known"
                            ));
                            self.problem(place, path, format!("`{path}` is a figure"), help);
                        }
                        Found::Slot(SlotKind::Statement) | Found::Line => {
                            self.problem(place, path, format!("`{path}` is always there"), None);
                        }
                        Found::Slot(_) | Found::Loop if name == "if" => inside.sure.push(full),
                        Found::Slot(_) | Found::Loop => {}
                    }
                }
            }
            ("each", [param]) => {
                if let Some(path) = self.path(param, place)
                    && let Some((full, found)) = self.resolve(path, place)
                {
                    if matches!(found, Found::Slot(SlotKind::List)) {
                        inside.scopes.push(format!("{full}."));
                    } else {
                        self.problem(place, path, format!("`{path}` is not a list"), None);
                    }
                }
            }
            _ if BLOCKS.contains(&name) => {
                let help = Some(format!("write `{{{{#{name} …}}}}` with one name"));
                self.problem(place, name, format!("`{name}` needs to know what it is about"), help);
            }
            _ => {
                let help = did_you_mean(name, BLOCKS).or_else(|| Some(format!("there are: {}", BLOCKS.join(", "))));
                self.problem(place, name, format!("there is no block `{name}`"), help);
            }
        }
        if let Some(template) = &tag.template {
            self.walk(template, &inside);
        }
        if let Some(template) = &tag.inverse {
            self.walk(template, &outside);
        }
    }

    fn partial(&mut self, tag: &DecoratorTemplate, place: &Place<'a>) {
        let Some(name) = tag.name.as_name() else {
            self.problem(
                place,
                "",
                "the name of a partial is written as it is, without brackets".to_owned(),
                None,
            );
            return;
        };
        if !tag.params.is_empty() || !tag.hash.is_empty() {
            let help = Some("a partial sees what the line around it sees".to_owned());
            self.problem(place, name, "a partial takes no arguments here".to_owned(), help);
        }
        let registry = self.registry;
        let Some((file, template)) = registry.partial(name) else {
            let help = did_you_mean(name, registry.partial_names())
                .or_else(|| Some(format!("make a file `partials/{name}.hbs`")));
            self.problem(place, name, format!("there is no partial `{name}`"), help);
            return;
        };
        if place.partials.iter().any(|outer| outer == name) {
            self.problem(place, name, format!("the partial `{name}` includes itself"), None);
            return;
        }
        let mut inside = place.clone();
        inside.file = file;
        (inside.line, inside.column, inside.vague) = (1, 1, true);
        inside.partials.push(name.to_owned());
        self.walk(template, &inside);
    }

    fn path<'p>(&mut self, param: &'p Parameter, place: &Place<'_>) -> Option<&'p str> {
        match param {
            Parameter::Path(_) | Parameter::Name(_) => param.as_name(),
            Parameter::Literal(value) => {
                let help = Some("write the name of a slot without quotes".to_owned());
                let word = value.as_str().unwrap_or_default();
                self.problem(place, word, format!("`{value}` is not the name of a slot"), help);
                None
            }
            Parameter::Subexpression(_) => {
                let help = Some("use a block, such as `{{#known \"nps\" \"csat\"}}` for any of several".to_owned());
                self.problem(place, "", "brackets inside a tag are not used here".to_owned(), help);
                None
            }
            // The enum of the template engine may grow.
            _ => None,
        }
    }

    /// What a path leads to, by its full name; reports it and gives nothing when it leads nowhere.
    fn resolve(&mut self, path: &str, place: &Place<'_>) -> Option<(String, Found)> {
        if path == "@first" || path == "@last" {
            if place.scopes.len() > 1 {
                return Some((path.to_owned(), Found::Loop));
            }
            self.problem(place, path, format!("`{path}` stands outside any list"), None);
            return None;
        }
        let mut rest = path;
        let mut depth = place.scopes.len() - 1;
        while let Some(up) = rest.strip_prefix("../") {
            if depth == 0 || !place.partials.is_empty() {
                let why = if depth == 0 {
                    "leads out of the document"
                } else {
                    "is not used inside a partial"
                };
                self.problem(place, path, format!("`{path}` {why}"), None);
                return None;
            }
            depth -= 1;
            rest = up;
        }
        let rest = rest
            .strip_prefix("this.")
            .or_else(|| rest.strip_prefix("this/"))
            .or_else(|| rest.strip_prefix("./"))
            .unwrap_or(rest);
        let scope = &place.scopes[depth];
        if rest == "this" {
            if depth > 0 {
                return Some((scope.trim_end_matches('.').to_owned(), Found::Line));
            }
            self.problem(place, path, "`this` stands outside any list".to_owned(), None);
            return None;
        }
        let full = format!("{scope}{}", rest.replace('/', "."));
        let found = match (self.declaration.slots.get(&full), self.declaration.figures.get(&full)) {
            (Some(slot), _) => Found::Slot(slot.kind),
            (None, Some(_)) => Found::Figure,
            (None, None) => {
                self.nowhere(path, scope, &full, place);
                return None;
            }
        };
        let list = full[scope.len()..]
            .match_indices('.')
            .map(|(at, _)| &full[..scope.len() + at])
            .find(|outer| {
                self.declaration
                    .slots
                    .get(*outer)
                    .is_some_and(|slot| slot.kind == SlotKind::List)
            });
        if let Some(list) = list.map(str::to_owned) {
            let help = Some(format!("write `{{{{#each {list}}}}}` and name the slot inside"));
            self.problem(place, path, format!("`{list}` is a list"), help);
            return None;
        }
        Some((full, found))
    }

    fn nowhere(&mut self, path: &str, scope: &str, full: &str, place: &Place<'_>) {
        let here = || {
            let slots = self.declaration.slots.keys().chain(self.declaration.figures.keys());
            slots.filter_map(|name| name.strip_prefix(scope))
        };
        let short = &full[scope.len()..];
        let help = did_you_mean(short, here()).or_else(|| {
            let outer = !scope.is_empty() && self.declaration.slots.contains_key(short);
            outer.then(|| format!("`{short}` belongs to the whole document: write `../{short}`"))
        });
        let help = help.or_else(|| Some(self.declare("slot")));
        let within = if scope.is_empty() {
            String::new()
        } else {
            format!(" in the lines of `{}`", scope.trim_end_matches('.'))
        };
        self.problem(
            place,
            path,
            format!("the document declares no slot `{short}`{within}"),
            help,
        );
    }

    fn declare(&self, what: &str) -> String {
        format!(
            "`{}.toml` lists what the document may use; add a [[{what}]] there",
            self.declaration.document
        )
    }

    fn children(&self, record: &str) -> String {
        let prefix = format!("{record}.");
        let names: Vec<&str> = self
            .declaration
            .slots
            .keys()
            .filter(|n| n.starts_with(&prefix))
            .map(String::as_str)
            .collect();
        names.join(", ")
    }

    /// The first name on the way to a slot that is optional and that no `{{#if}}` around it has made sure of.
    fn unsure(&self, full: &str, place: &Place<'_>) -> Option<String> {
        let ends = full.match_indices('.').map(|(at, _)| at).chain([full.len()]);
        ends.map(|end| &full[..end])
            .find(|name| {
                self.declaration
                    .slots
                    .get(*name)
                    .is_some_and(|slot| !slot.required && slot.kind != SlotKind::List)
                    && !place.sure.iter().any(|sure| sure == name)
            })
            .map(str::to_owned)
    }
}
