//! Tables of the messages and enums of `cti.proto`, with its comments.

use std::{collections::HashMap, path::Path};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    prost_types::source_code_info::Location,
};

use super::table;

// Numbers of google/protobuf/descriptor.proto, of which the paths of comments are made.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const FIELDS_OF_MESSAGE: i32 = 2;
const VALUES_OF_ENUM: i32 = 2;

/// The enum of which the table of errors takes the place.
const ERROR_CODE: &str = "ErrorCode";

pub struct Proto {
    file: FileDescriptor,
    comments: HashMap<Vec<i32>, String>,
}

impl Proto {
    pub fn compile(root: &Path) -> Self {
        const FILE: &str = "callgate/cti/v1/cti.proto";
        let mut compiler = protox::Compiler::new([root.join("proto")]).unwrap();
        let pool: DescriptorPool = compiler.include_source_info(true).open_files([FILE]).unwrap().descriptor_pool();
        let file = pool.get_file_by_name(FILE).unwrap();
        let locations = file.file_descriptor_proto().source_code_info.clone().unwrap().location;
        let comment = |location: Location| location.leading_comments.map(|text| (location.path, one_line(&text)));
        Self { comments: locations.into_iter().filter_map(comment).collect(), file }
    }

    /// Every message: what it is, and a table of its fields.
    pub fn messages(&self) -> String {
        self.file.messages().map(|message| self.message(&message)).collect::<Vec<_>>().join("\n\n")
    }

    /// Every enum: what it is, and a table of its values.
    pub fn enums(&self) -> String {
        self.file.enums().map(|values| self.values(&values)).collect::<Vec<_>>().join("\n\n")
    }

    /// What has no comment.
    pub fn unexplained(&self) -> Vec<String> {
        let messages = self.file.messages().flat_map(|message| {
            let fields = message.fields().map(|field| (self.of_field(&field), field.full_name().to_owned()));
            let fields: Vec<_> = fields.collect();
            std::iter::once((self.of_message(&message), message.full_name().to_owned())).chain(fields)
        });
        let enums = self.file.enums().flat_map(|values| {
            let explained = values.name() == ERROR_CODE;
            let rows = values.values().filter(|value| value.number() != 0 && !explained);
            let rows: Vec<_> =
                rows.map(|value| (self.of_value(&values, value.number()), value.full_name().to_owned())).collect();
            std::iter::once((self.of_enum(&values), values.full_name().to_owned())).chain(rows)
        });
        messages.chain(enums).filter(|(comment, _)| comment.is_empty()).map(|(_, name)| name).collect()
    }

    fn message(&self, message: &MessageDescriptor) -> String {
        let (title, meaning) = (format!("### {}", message.name()), self.of_message(message));
        if message.fields().len() == 0 {
            return format!("{title}\n\n{meaning} It has no fields.");
        }
        let rows = message.fields().map(|field| {
            let of = field.containing_oneof().map(|oneof| format!(" one of `{}`", oneof.name())).unwrap_or_default();
            let (name, number) = (field.name(), field.number());
            format!("| `{name}` | {number} | {}{of} | {} |", kind(&field), self.of_field(&field))
        });
        let table = table("| Field | Number | Type | Meaning |\n|---|---|---|---|", rows);
        format!("{title}\n\n{meaning}\n\n{table}")
    }

    fn values(&self, values: &EnumDescriptor) -> String {
        let (title, meaning) = (format!("### {}", values.name()), self.of_enum(values));
        if values.name() == ERROR_CODE {
            return format!("{title}\n\n{meaning}\n\nThe values are those of the [table of errors](#errors).");
        }
        let rows = values.values().map(|value| {
            let meaning = self.of_value(values, value.number());
            let meaning = if value.number() == 0 { "Not set, or a value of a later version.".into() } else { meaning };
            format!("| `{}` | {} | {meaning} |", value.name(), value.number())
        });
        let table = table("| Value | Number | Meaning |\n|---|---|---|", rows);
        format!("{title}\n\n{meaning}\n\n{table}")
    }

    fn of_message(&self, message: &MessageDescriptor) -> String {
        self.comment(&[MESSAGES, self.place_of_message(message)])
    }

    fn of_field(&self, field: &FieldDescriptor) -> String {
        let message = field.parent_message();
        let place = message.descriptor_proto().field.iter().position(|other| other.number() == field.number() as i32);
        self.comment(&[MESSAGES, self.place_of_message(message), FIELDS_OF_MESSAGE, place.unwrap() as i32])
    }

    fn of_enum(&self, values: &EnumDescriptor) -> String {
        self.comment(&[ENUMS, self.place_of_enum(values)])
    }

    fn of_value(&self, values: &EnumDescriptor, number: i32) -> String {
        let place = values.enum_descriptor_proto().value.iter().position(|value| value.number() == number);
        self.comment(&[ENUMS, self.place_of_enum(values), VALUES_OF_ENUM, place.unwrap() as i32])
    }

    fn place_of_message(&self, message: &MessageDescriptor) -> i32 {
        let messages = &self.file.file_descriptor_proto().message_type;
        messages.iter().position(|other| other.name() == message.name()).unwrap() as i32
    }

    fn place_of_enum(&self, values: &EnumDescriptor) -> i32 {
        let enums = &self.file.file_descriptor_proto().enum_type;
        enums.iter().position(|other| other.name() == values.name()).unwrap() as i32
    }

    fn comment(&self, path: &[i32]) -> String {
        self.comments.get(path).cloned().unwrap_or_default()
    }
}

/// The type of a field, linked to its table if it has one.
fn kind(field: &FieldDescriptor) -> String {
    let link = |name: &str| format!("[{name}](#{})", name.to_lowercase());
    let kind = match field.kind() {
        Kind::Message(message) => link(message.name()),
        Kind::Enum(values) => link(values.name()),
        scalar => format!("{scalar:?}"),
    };
    if field.is_list() { format!("repeated {kind}") } else { kind }
}

/// A comment as it fits into a row of a table.
fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
