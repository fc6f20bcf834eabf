//! The Salesforce objects the sandbox knows: one table of fields per object drives describe, checks and queries.
//!
//! Promises: a field that is hidden does not exist for anyone who asks, as for a user who may not see it. Does not: hold
//! every standard field.

mod standard;

pub(super) use standard::STAGES_AT_START;

use std::collections::BTreeMap;

use crate::custom::{Access, CustomField, CustomObject, FieldKind};

/// The type of a field, with what its values are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Id,
    Reference(&'static [&'static str]),
    Text(usize),
    Long(usize),
    Email,
    Phone,
    Url,
    /// Values of a picklist, and whether others are refused.
    Picklist(&'static [&'static str], Restricted),
    Number,
    Integer,
    Currency,
    Percent,
    Boolean,
    Date,
    DateTime,
    /// A compound of the fields that begin with this prefix. Read-only.
    Address(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restricted {
    Yes,
    No,
}

/// Who may write a field, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writable {
    Always,
    OnCreate,
    Never,
}

/// What a field must hold to find a record by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    No,
    /// Not an external id, but usable in an upsert (`idLookup`), such as the e-mail of a contact.
    Lookup,
    External,
    ExternalUnique,
}

/// A value a record gets when a create does not say one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    No,
    Text(&'static str),
    False,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) writable: Writable,
    pub(crate) key: Key,
    pub(crate) default: Preset,
    /// The name under which the children of this reference are reached from the parent.
    pub(crate) children: Option<&'static str>,
}

impl Field {
    const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    const fn read_only(mut self) -> Field {
        self.writable = Writable::Never;
        self
    }

    const fn on_create(mut self) -> Field {
        self.writable = Writable::OnCreate;
        self
    }

    const fn key(mut self, key: Key) -> Field {
        self.key = key;
        self
    }

    const fn or(mut self, default: Preset) -> Field {
        self.default = default;
        self
    }

    const fn children(mut self, name: &'static str) -> Field {
        self.children = Some(name);
        self
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.name.ends_with("__c")
    }

    /// The objects a reference may point to; none for any other field.
    pub(crate) fn targets(&self) -> &'static [&'static str] {
        if let Kind::Reference(targets) = self.kind {
            targets
        } else {
            &[]
        }
    }

    /// The name under which the record that a reference points to is reached in a query.
    pub(crate) fn relationship(&self) -> Option<String> {
        if self.targets().is_empty() {
            return None;
        }
        match self.name.strip_suffix("__c") {
            Some(stem) => Some(format!("{stem}__r")),
            None => self.name.strip_suffix("Id").map(str::to_owned),
        }
    }
}

const fn field(name: &'static str, label: &'static str, kind: Kind) -> Field {
    Field {
        name,
        label,
        kind,
        required: false,
        writable: Writable::Always,
        key: Key::No,
        default: Preset::No,
        children: None,
    }
}

const fn text(name: &'static str, label: &'static str, length: usize) -> Field {
    field(name, label, Kind::Text(length))
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) prefix: &'static str,
    pub(crate) writable: bool,
    /// Every field, `Id` first.
    fields: Vec<Field>,
    /// Positions in `fields` by name in lower case.
    by_name: BTreeMap<String, usize>,
}

impl Object {
    fn new(
        names: (&'static str, &'static str, &'static str),
        prefix: &'static str,
        writable: bool,
        fields: Vec<Field>,
    ) -> Object {
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(at, field)| (field.name.to_lowercase(), at))
            .collect();
        let (name, label, plural) = names;
        Object {
            name,
            label,
            plural,
            prefix,
            writable,
            fields,
            by_name,
        }
    }

    /// The same object with other fields.
    fn with(&self, fields: Vec<Field>) -> Object {
        Object::new((self.name, self.label, self.plural), self.prefix, self.writable, fields)
    }

    /// The field of this name in any case.
    pub(crate) fn field(&'static self, name: &str) -> Option<&'static Field> {
        // Most names come as they are written here, and need no copy in lower case.
        let at = self.by_name.get(&name.to_ascii_lowercase())?;
        self.fields.get(*at)
    }

    /// Every field, `Id` first.
    pub(crate) fn all(&'static self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter()
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.name.ends_with("__c")
    }

    pub(crate) fn indexed(&self) -> Vec<&'static str> {
        let kept = self.fields.iter().filter(|field| field.key != Key::No);
        kept.map(|field| field.name).collect()
    }
}

/// The objects of one sandbox.
#[derive(Debug)]
pub(crate) struct Schema {
    objects: Vec<&'static Object>,
}

impl Schema {
    pub(crate) fn new() -> Schema {
        Schema {
            objects: standard::objects().to_vec(),
        }
    }

    /// The object of this name in any case.
    pub(crate) fn object(&self, name: &str) -> Option<&'static Object> {
        let found = self
            .objects
            .iter()
            .find(|object| object.name.eq_ignore_ascii_case(name));
        found.copied()
    }

    /// The object whose ids start like this id.
    pub(crate) fn object_of_id(&self, id: &str) -> Option<&'static Object> {
        self.objects
            .iter()
            .find(|object| id.starts_with(object.prefix))
            .copied()
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &'static Object> {
        self.objects.iter().copied()
    }

    /// The children of an object under this name, with the reference that makes them children.
    pub(crate) fn children(&self, parent: &Object, name: &str) -> Option<(&'static Object, &'static Field)> {
        self.relations(parent)
            .find(|(_, field)| field.children.is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }

    /// Every reference that points to an object.
    pub(crate) fn relations(&self, parent: &Object) -> impl Iterator<Item = (&'static Object, &'static Field)> {
        let name = parent.name;
        self.objects().flat_map(move |object| {
            object
                .all()
                .filter(move |field| field.targets().contains(&name))
                .map(move |field| (object, field))
        })
    }

    /// Takes in custom fields, and the object when it is not there.
    pub(crate) fn extend(&mut self, custom: &CustomObject) -> Result<&'static Object, String> {
        let known = self.object(&custom.name);
        if known.is_none() && !custom.name.ends_with("__c") {
            return Err(format!(
                "the name of a custom object ends with `__c`, `{}` does not",
                custom.name
            ));
        }
        let mut fields: Vec<Field> = match known {
            Some(object) => object.fields.clone(),
            None => {
                let name = text("Name", "Name", standard::CUSTOM_NAME);
                standard::whole(standard::Owned::Yes, &[name])
            }
        };
        for one in &custom.fields {
            if !one.name.ends_with("__c") {
                return Err(format!(
                    "the name of a custom field ends with `__c`, `{}` does not",
                    one.name
                ));
            }
            let made = custom_field(one)?;
            fields.retain(|field| !field.name.eq_ignore_ascii_case(made.name));
            fields.push(made);
        }
        let object = match known {
            Some(object) => object.with(fields),
            None => {
                let number = self.objects.iter().filter(|object| object.is_custom()).count();
                let prefix = keep(&format!("a{number:02}"));
                let label = keep(&custom.label);
                Object::new(
                    (keep(&custom.name), label, keep(&format!("{label}s"))),
                    prefix,
                    true,
                    fields,
                )
            }
        };
        Ok(self.put(object))
    }

    /// Changes what may be done with a field. Answers whether there is such a field.
    pub(crate) fn allow(&mut self, object: &str, field: &str, access: Access) -> bool {
        let Some(object) = self.object(object) else {
            return false;
        };
        let Some(known) = object.field(field) else { return false };
        let mut fields = object.fields.clone();
        match access {
            Access::Hidden => fields.retain(|one| one.name != known.name),
            Access::ReadOnly => {
                for one in fields.iter_mut().filter(|one| one.name == known.name) {
                    one.writable = Writable::Never;
                }
            }
        }
        self.put(object.with(fields));
        true
    }

    /// INVARIANT (few schemas): an object is kept for the life of the process, so that all code may hold on to it. A
    /// sandbox makes one for each custom object and each change of access, which a test does a few times.
    fn put(&mut self, object: Object) -> &'static Object {
        let object: &'static Object = Box::leak(Box::new(object));
        match self.objects.iter_mut().find(|one| one.name == object.name) {
            Some(place) => *place = object,
            None => self.objects.push(object),
        }
        object
    }
}

/// A text for the life of the process; see [`Schema::put`].
pub(crate) fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn keep_all(texts: &[String]) -> &'static [&'static str] {
    Box::leak(
        texts
            .iter()
            .map(|text| keep(text))
            .collect::<Vec<_>>()
            .into_boxed_slice(),
    )
}

fn custom_field(one: &CustomField) -> Result<Field, String> {
    let kind = match &one.kind {
        FieldKind::Text(length) if *length > standard::TEXT => Kind::Long(*length),
        FieldKind::Text(length) => Kind::Text(*length),
        FieldKind::Number => Kind::Number,
        FieldKind::Boolean => Kind::Boolean,
        FieldKind::Date => Kind::Date,
        FieldKind::DateTime => Kind::DateTime,
        FieldKind::Choice(values) => Kind::Picklist(keep_all(values), Restricted::Yes),
        FieldKind::Reference(object) => Kind::Reference(keep_all(std::slice::from_ref(object))),
    };
    let key = if one.unique { Key::ExternalUnique } else { Key::No };
    if key != Key::No && !matches!(kind, Kind::Text(_)) {
        return Err(format!(
            "`{}` is unique, so it must be a text of at most {} characters",
            one.name,
            standard::TEXT
        ));
    }
    let mut made = field(keep(&one.name), keep(&one.label), kind).key(key);
    made.required = one.required;
    if let FieldKind::Reference(_) = one.kind {
        made.children = Some(keep(&format!("{}__r", one.label.replace(' ', "_"))));
    }
    if kind == Kind::Boolean {
        made.default = Preset::False;
    }
    Ok(made)
}
