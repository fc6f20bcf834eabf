//! The HubSpot object types the sandbox knows, their properties, pipelines and association types.
//!
//! Promises: a property that is hidden does not exist for anyone who asks.

mod standard;

use crate::custom::{Access, CustomField, CustomObject, FieldKind};
use crate::salesforce::keep;

/// The type of a property, with what its values are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(usize),
    Number,
    Boolean,
    DateTime,
    /// One of these values.
    Options(&'static [&'static str]),
    /// One of these values, and never an earlier one than before.
    Lifecycle,
    Owner,
    Email,
    Pipeline,
    Stage,
    /// Worked out from the record whenever it is read. Read-only.
    Computed(Computed),
}

/// How a computed property is worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Computed {
    Fixed(&'static str),
    Copy(&'static str),
    /// The part of an address behind the `@`.
    Domain(&'static str),
    Html(&'static str),
    /// One of two texts: whether a time is past.
    Past(&'static str, &'static str, &'static str),
    Created,
    /// Creation in milliseconds, which some times are.
    CreatedMs,
    /// The last change, once there was one.
    Touched,
    Id,
    /// Type and id.
    Coordinates,
    FullName,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unique: bool,
    pub(crate) required: bool,
    pub(crate) read_only: bool,
}

impl Property {
    const fn unique(mut self) -> Property {
        self.unique = true;
        self
    }

    const fn required(mut self) -> Property {
        self.required = true;
        self
    }

    const fn read_only(mut self) -> Property {
        self.read_only = true;
        self
    }
}

const fn property(name: &'static str, label: &'static str, kind: Kind) -> Property {
    Property {
        name,
        label,
        kind,
        unique: false,
        required: false,
        read_only: false,
    }
}

const fn computed(name: &'static str, label: &'static str, how: Computed) -> Property {
    property(name, label, Kind::Computed(how)).read_only()
}

const fn text(name: &'static str, label: &'static str) -> Property {
    property(name, label, Kind::Text(standard::TEXT))
}

#[derive(Debug, Clone)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) type_id: &'static str,
    /// The property with the time of the last change.
    pub(crate) modified: &'static str,
    /// The property with the time of creation.
    pub(crate) created: &'static str,
    /// What a read shows when it does not ask for properties.
    pub(crate) shown: &'static [&'static str],
    pub(crate) properties: &'static [Property],
    /// Property of the pipeline, of the stage, the pipeline and its stages.
    pub(crate) pipeline: Option<&'static Pipeline>,
}

impl Type {
    pub(crate) fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties
            .iter()
            .chain(standard::COMMON)
            .find(|property| property.name == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Property> {
        self.properties.iter().chain(standard::COMMON)
    }

    pub(crate) fn indexed(&self) -> Vec<&'static str> {
        self.properties
            .iter()
            .filter(|property| property.unique)
            .map(|property| property.name)
            .collect()
    }
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) property: &'static str,
    pub(crate) stage_property: &'static str,
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) stages: &'static [Stage],
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) closed: bool,
    /// Chance of winning, deals only.
    pub(crate) probability: Option<&'static str>,
}

const fn stage(id: &'static str, label: &'static str, closed: bool, probability: Option<&'static str>) -> Stage {
    Stage {
        id,
        label,
        closed,
        probability,
    }
}

/// Lifecycle stages from the first to the last.
pub(crate) const LIFECYCLE: &[&str] = &[
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
];

/// The object types of one sandbox.
#[derive(Debug)]
pub(crate) struct Types {
    types: Vec<&'static Type>,
    /// Labels that people have defined for associations.
    labels: Vec<Label>,
}

/// A label for associations between two types of records, with a number for each direction.
#[derive(Debug, Clone, Copy)]
struct Label {
    ends: (&'static str, &'static str),
    tie: Tie,
    inverse: Option<&'static str>,
}

/// Numbers of defined labels begin here, past those of the vendor and of custom types. Real ones are small numbers of the category
/// USER_DEFINED; they are unique here so that a number alone tells.
const LABELS: u32 = 100_001;
/// Labels between two types of records (unverified).
const LABELS_MAX: usize = 50;

impl Types {
    pub(crate) fn new() -> Types {
        Types {
            types: standard::TYPES.iter().collect(),
            labels: Vec::new(),
        }
    }

    /// The type of this name, plural or singular, or number.
    pub(crate) fn named(&self, name: &str) -> Option<&'static Type> {
        let found = self.types.iter().find(|one| {
            one.name.eq_ignore_ascii_case(name)
                || one.singular.eq_ignore_ascii_case(name)
                || one.type_id == name
                || name.strip_prefix("p_") == Some(one.name)
        });
        found.copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Type> {
        self.types.iter().copied()
    }

    /// Takes in custom properties, and the object type when it is not there.
    pub(crate) fn extend(&mut self, custom: &CustomObject) -> Result<&'static Type, String> {
        let known = self.named(&custom.name);
        let mut properties = known.map(|of| of.properties.to_vec()).unwrap_or_default();
        for one in &custom.fields {
            let made = custom_property(one)?;
            properties.retain(|property| property.name != made.name);
            properties.push(made);
        }
        let of = match known {
            Some(of) => of.clone(),
            None => {
                let number = self.types.iter().filter(|of| of.is_custom()).count() + 1;
                let singular = custom.name.strip_suffix('s').unwrap_or(&custom.name);
                Type {
                    name: keep(&custom.name),
                    singular: keep(singular),
                    type_id: keep(&format!("2-{}", CUSTOM_TYPES + number)),
                    modified: "hs_lastmodifieddate",
                    created: "hs_createdate",
                    shown: &[],
                    properties: &[],
                    pipeline: None,
                }
            }
        };
        Ok(self.put(of, properties))
    }

    /// Changes what may be done with a property. Answers whether there is such a property.
    pub(crate) fn allow(&mut self, of: &str, name: &str, access: Access) -> bool {
        let Some(of) = self.named(of) else { return false };
        let mut properties = of.properties.to_vec();
        let Some(at) = properties.iter().position(|property| property.name == name) else {
            return false;
        };
        match access {
            Access::Hidden => {
                properties.remove(at);
            }
            Access::ReadOnly => {
                if let Some(property) = properties.get_mut(at) {
                    property.read_only = true;
                }
            }
        }
        self.put(of.clone(), properties);
        true
    }

    /// Every kind of association from one type to another: the vendor's, the default first, then those that people have defined.
    pub(crate) fn ties(&self, from: &Type, to: &Type) -> Vec<Tie> {
        let mut all = ties(from, to);
        for label in &self.labels {
            let Tie { there, back, .. } = label.tie;
            if label.ends == (from.name, to.name) {
                all.push(label.tie);
            } else if label.ends == (to.name, from.name) {
                all.push(Tie {
                    there: back,
                    back: there,
                    label: label.inverse.or(label.tie.label),
                    ..label.tie
                });
            }
        }
        all
    }

    /// Defines a label for associations; nothing where there is one of this name already, or there are too many.
    pub(crate) fn define(&mut self, from: &Type, to: &Type, label: &str, inverse: Option<&str>) -> Option<Tie> {
        let all = self.ties(from, to);
        let is_there = all
            .iter()
            .any(|tie| tie.label.is_some_and(|own| own.eq_ignore_ascii_case(label)));
        let defined = all.iter().filter(|tie| tie.category == DEFINED_BY_PEOPLE).count();
        if is_there || all.is_empty() || defined >= LABELS_MAX || label.trim().is_empty() {
            return None;
        }
        let there = LABELS + 2 * u32::try_from(self.labels.len()).ok()?;
        let tie = Tie {
            there,
            back: there + 1,
            category: DEFINED_BY_PEOPLE,
            label: Some(keep(label)),
        };
        let ends = (self.named(from.name)?.name, self.named(to.name)?.name);
        self.labels.push(Label {
            ends,
            tie,
            inverse: inverse.map(keep),
        });
        Some(tie)
    }

    /// INVARIANT (few types): kept for the life of the process, as the objects of the other CRM are.
    fn put(&mut self, of: Type, properties: Vec<Property>) -> &'static Type {
        let of: &'static Type = Box::leak(Box::new(Type {
            properties: Box::leak(properties.into_boxed_slice()),
            ..of
        }));
        match self.types.iter_mut().find(|one| one.name == of.name) {
            Some(place) => *place = of,
            None => self.types.push(of),
        }
        of
    }
}

/// Numbers of custom types begin behind this.
const CUSTOM_TYPES: usize = 139_000_000;
/// Numbers of associations with custom types begin here.
const CUSTOM_TIES: u32 = 500;

impl Type {
    pub(crate) fn is_custom(&self) -> bool {
        self.type_id.starts_with("2-")
    }

    fn number(&self) -> u32 {
        let digits = self
            .type_id
            .strip_prefix("2-")
            .and_then(|digits| digits.parse::<usize>().ok());
        digits.map_or(0, |number| {
            u32::try_from(number.saturating_sub(CUSTOM_TYPES)).unwrap_or(0)
        })
    }
}

fn custom_property(one: &CustomField) -> Result<Property, String> {
    let kind = match &one.kind {
        FieldKind::Text(length) => Kind::Text(*length),
        FieldKind::Number => Kind::Number,
        FieldKind::Boolean => Kind::Boolean,
        FieldKind::Date | FieldKind::DateTime => Kind::DateTime,
        FieldKind::Choice(values) => {
            let values: Vec<&'static str> = values.iter().map(|value| keep(value)).collect();
            Kind::Options(Box::leak(values.into_boxed_slice()))
        }
        FieldKind::Reference(_) => {
            return Err(format!("`{}`: HubSpot has associations, not references", one.name));
        }
    };
    let mut made = property(keep(&one.name), keep(&one.label), kind);
    made.unique = one.unique;
    made.required = one.required;
    Ok(made)
}

/// The numbers of one kind of association, as seen from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) there: u32,
    pub(crate) back: u32,
    pub(crate) category: &'static str,
    pub(crate) label: Option<&'static str>,
}

/// The category of labels that people define.
pub(crate) const DEFINED_BY_PEOPLE: &str = "USER_DEFINED";

/// Every kind of association from one type to another that the vendor defines, the default first.
pub(crate) fn ties(from: &Type, to: &Type) -> Vec<Tie> {
    if from.is_custom() || to.is_custom() {
        // Even there, odd back: the same pair gets the same two numbers from either side.
        let base = CUSTOM_TIES + 200 * from.number().max(to.number());
        let number = |of: &Type| standard::TYPES.iter().position(|one| one.name == of.name);
        let other = number(from).or(number(to)).unwrap_or(standard::TYPES.len());
        let base = base + 2 * u32::try_from(other).unwrap_or(0);
        let outward = from.is_custom();
        return vec![Tie {
            there: base + u32::from(!outward),
            back: base + u32::from(outward),
            category: "USER_DEFINED",
            label: None,
        }];
    }
    let kinds = standard::ASSOCIATIONS.iter().filter_map(|(one, other, there, back)| {
        if *one == from.name && *other == to.name {
            Some((*there, *back))
        } else if *one == to.name && *other == from.name {
            Some((*back, *there))
        } else {
            None
        }
    });
    kinds
        .enumerate()
        .map(|(at, (there, back))| Tie {
            there,
            back,
            category: "HUBSPOT_DEFINED",
            label: (at > 0).then_some("Primary"),
        })
        .collect()
}

/// Owners: id, e-mail, first and last name.
pub(crate) const OWNERS: &[(&str, &str, &str, &str)] = &[
    ("88842095", "ada.meyer@sandbox.example", "Ada", "Meyer"),
    ("88842096", "ben.okafor@sandbox.example", "Ben", "Okafor"),
    ("88842097", "chloe.dubois@sandbox.example", "Chloe", "Dubois"),
];
