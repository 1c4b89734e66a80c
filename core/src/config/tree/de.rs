//! From the tree to any `Deserialize` type, with a fault that knows where it happened.

use std::fmt::{self, Display};
use std::ops::{Deref, DerefMut};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor, value::StrDeserializer,
};
use serde::forward_to_deserialize_any;

use super::{Entry, Node, Path, Scalar, Step, Typed, Value};
use crate::config::report::{Position, nearest};

/// Why a tree is not the type that was asked for. Boxed, since there are hundreds of places in a document that may be
/// wrong, and each of them moves a result about: in wasm that is code.
#[derive(Debug)]
pub(in crate::config) struct Fault(Box<Details>);

#[derive(Debug)]
pub(in crate::config) struct Details {
    /// From the value outwards while the error travels up.
    steps: Vec<Step>,
    /// Of the key or value at fault, as far as it is known.
    pub(in crate::config) position: Option<Position>,
    pub(in crate::config) kind: Kind,
    pub(in crate::config) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    UnknownKey,
    MissingKey(&'static str),
    Value,
}

impl Fault {
    pub(in crate::config) fn path(&self) -> Path {
        Path(self.steps.iter().rev().cloned().collect())
    }

    fn new(kind: Kind, message: String) -> Fault {
        Fault(Box::new(Details { steps: Vec::new(), position: None, kind, message }))
    }

    fn at(mut self, position: Position) -> Fault {
        self.position.get_or_insert(position);
        self
    }

    fn under(mut self, step: Step) -> Fault {
        self.steps.push(step);
        self
    }

    fn of(mut self, entry: &Entry) -> Fault {
        // A mapping in a block starts with its first key, which would point at the wrong one.
        if self.steps.is_empty() && !matches!(entry.node.value, Value::Scalar(_)) {
            self.position = Some(entry.position);
        }
        self.under(Step::Key(entry.key.clone()))
    }

    fn hiding(mut self, scalar: &Scalar) -> Fault {
        self.message = scalar.without_expansion(std::mem::take(&mut self.message));
        self
    }
}

impl Deref for Fault {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Fault {
        Fault::new(Kind::Value, message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::new(Kind::Value, mismatch(unexpected, expected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::new(Kind::Value, mismatch(unexpected, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Fault {
        let choice = format!("one of {}", expected.join(", "));
        let hint = nearest(variant, expected.iter().copied())
            .map(|near| format!("did you mean `{near}`? It is {choice}"))
            .unwrap_or(format!("write {choice}"));
        Fault::new(Kind::Value, format!("`{variant}` is not known; {hint}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Fault {
        let hint = nearest(field, expected.iter().copied())
            .map(|near| format!("did you mean `{near}`?"))
            .unwrap_or(format!("known here: {}", expected.join(", ")));
        Fault::new(Kind::UnknownKey, format!("unknown key; {hint}"))
    }

    fn missing_field(field: &'static str) -> Fault {
        Fault::new(Kind::MissingKey(field), format!("`{field}` is missing"))
    }
}

fn mismatch(unexpected: Unexpected<'_>, expected: &dyn Expected) -> String {
    let expected = match expected.to_string().as_str() {
        "u16" => "an integer from 0 to 65535".into(),
        "u32" => "an integer from 0 to 4294967295".into(),
        "u64" | "usize" => "an integer that is not negative".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        text if text.starts_with("struct ") => "a mapping".into(),
        text => text.to_owned(),
    };
    let found = match unexpected {
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Map => "a mapping".into(),
        Unexpected::Seq => "a list".into(),
        other => other.to_string(),
    };
    format!("expected {expected}, found {found}")
}

impl Node {
    /// The fault that this is not what was `expected`. Every visitor's own default says the same; this is there once.
    fn unfit(&self, expected: &dyn Expected) -> Fault {
        let mismatch = |unexpected| <Fault as de::Error>::invalid_type(unexpected, expected);
        let fault = match &self.value {
            Value::Sequence(_) => mismatch(Unexpected::Seq),
            Value::Mapping(_) => mismatch(Unexpected::Map),
            Value::Scalar(scalar) => match scalar.typed() {
                Typed::Null => mismatch(Unexpected::Unit),
                Typed::Bool(value) => mismatch(Unexpected::Bool(value)),
                Typed::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
                    (Ok(value), _) => mismatch(Unexpected::Unsigned(value)),
                    (_, Ok(value)) => mismatch(Unexpected::Signed(value)),
                    _ => too_large(value),
                },
                Typed::Float(value) => mismatch(Unexpected::Float(value)),
                Typed::Text(text) => mismatch(Unexpected::Str(text)),
            }
            .hiding(scalar),
        };
        fault.at(self.position)
    }

    fn number<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Scalar(scalar) = &self.value else { return Err(self.unfit(&visitor)) };
        let result = match scalar.typed() {
            Typed::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(too_large(value)),
            },
            Typed::Float(value) => visitor.visit_f64(value),
            _ => return Err(self.unfit(&visitor)),
        };
        result.map_err(|fault| fault.hiding(scalar).at(self.position))
    }
}

fn too_large(number: i128) -> Fault {
    Fault::new(Kind::Value, format!("`{number}` is too large a number"))
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.value {
            Value::Scalar(scalar) => {
                let result = match scalar.typed() {
                    Typed::Null => visitor.visit_unit(),
                    Typed::Bool(value) => visitor.visit_bool(value),
                    Typed::Text(text) => visitor.visit_borrowed_str(text),
                    Typed::Integer(_) | Typed::Float(_) => return self.number(visitor),
                };
                result.map_err(|fault: Fault| fault.hiding(scalar))
            }
            Value::Sequence(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Mapping(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
        };
        result.map_err(|fault| fault.at(self.position))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Scalar(scalar) = &self.value else { return Err(self.unfit(&visitor)) };
        match scalar.typed() {
            Typed::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.unfit(&visitor)),
        }
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    /// A plain scalar is text where text is wanted: `min_version: 1.2`, or a password of digits from a variable.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Scalar(scalar) if !scalar.is_null() => visitor
                .visit_borrowed_str(scalar.text())
                .map_err(|fault: Fault| fault.hiding(scalar).at(self.position)),
            _ => Err(self.unfit(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Sequence(items) = &self.value else { return Err(self.unfit(&visitor)) };
        let items = Items { items: items.iter().enumerate() };
        visitor.visit_seq(items).map_err(|fault: Fault| fault.at(self.position))
    }

    /// A section whose keys are all commented out is one with nothing but defaults.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    /// A derived struct would read a list as its fields in order; here it is none.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let entries = match &self.value {
            Value::Mapping(entries) => entries.as_slice(),
            Value::Scalar(scalar) if scalar.is_null() => &[],
            _ => return Err(self.unfit(&visitor)),
        };
        let entries = Entries { entries: entries.iter(), current: None };
        visitor.visit_map(entries).map_err(|fault: Fault| fault.at(self.position))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match &self.value {
            Value::Scalar(scalar) if !scalar.is_null() => {
                visitor.visit_enum(Name(scalar.text())).map_err(|fault: Fault| fault.hiding(scalar))
            }
            Value::Scalar(_) => Err(de::Error::invalid_type(Unexpected::Unit, &"a name")),
            Value::Sequence(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"a name")),
            Value::Mapping(_) => Err(de::Error::invalid_type(Unexpected::Map, &"a name")),
        };
        result.map_err(|fault| fault.at(self.position))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
        ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = &'de Node;

    fn into_deserializer(self) -> &'de Node {
        self
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        match self.items.find(|(_, node)| !node.hidden) {
            Some((index, node)) => {
                seed.deserialize(node).map(Some).map_err(|fault| fault.under(Step::Index(index)))
            }
            None => Ok(None),
        }
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.find(|entry| !entry.node.hidden);
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| fault.at(entry.position).under(Step::Key(entry.key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.current.expect("serde asks for a value only after its key");
        seed.deserialize(&entry.node).map_err(|fault| fault.of(entry))
    }
}

/// The name of a variant without content.
struct Name<'de>(&'de str);

impl<'de> EnumAccess<'de> for Name<'de> {
    type Error = Fault;
    type Variant = Unit;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Unit), Fault> {
        let name: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, Unit))
    }
}

struct Unit;

impl<'de> VariantAccess<'de> for Unit {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Fault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a list"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a mapping"))
    }
}
