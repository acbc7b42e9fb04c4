/**
 * An OpenAPI v3 document as protobuf: gnostic's openapi.v3.Document, which client-go may request. Field numbers are those of its published .proto file;
 * parts that a cluster's document never has (servers, callbacks, links, examples, OAuth, XML) are omitted.
 */
import { Message } from '#machinery/codec/message.ts';
import { asList, asObject, type JsonObject } from '#machinery/json.ts';

export function encodeOpenapiV3(document: JsonObject): Buffer {
  const message = new Message();
  message.text(1, document['openapi']);
  message.sub(
    2,
    asObject(document['info']),
    (info, value) =>
      void info.text(1, value['title']).text(2, value['description']).text(6, value['version']),
  );
  message.sub(4, asObject(document['paths']), (paths, value) => {
    for (const [name, item] of Object.entries(value))
      if (name.startsWith('/')) named(paths, 1, { name, value: item, write: pathItem });
  });
  message.sub(5, asObject(document['components']), components);
  for (const requirement of asList(document['security']))
    message.sub(6, asObject(requirement), securityRequirement);
  extensions(message, 9, document);
  return message.finish();
}

type Write = (message: Message, value: JsonObject) => void;

function named(
  message: Message,
  field: number,
  { name, value, write }: { readonly name: string; readonly value: unknown; readonly write: Write },
): void {
  message.sub(field, asObject(value) ?? {}, (entry, given) => void entry.text(1, name).sub(2, given, write));
}

/** A map: a message with an entry for each key. */
function map(
  message: Message,
  field: number,
  { value, write }: { readonly value: unknown; readonly write: Write },
): void {
  message.sub(field, asObject(value), (all, entries) => {
    for (const [name, entry] of Object.entries(entries)) named(all, 1, { name, value: entry, write });
  });
}

/** For types that may be inline or a reference. */
function orReference(write: Write): Write {
  return (message, value) => {
    if (typeof value['$ref'] === 'string')
      message.sub(
        2,
        value,
        (reference) =>
          void reference.text(1, value['$ref']).text(2, value['summary']).text(3, value['description']),
      );
    else message.sub(1, value, write);
  };
}

/** Any value is carried as YAML, of which JSON is a part; gnostic writes names without quotes. */
function any(message: Message, field: number, value: unknown): void {
  if (value !== undefined) message.sub(field, value, (inner) => void inner.text(2, `${yamlOf(value)}\n`));
}

function yamlOf(value: unknown): string {
  return typeof value === 'string' &&
    /^[A-Za-z][A-Za-z0-9_./-]*$/.test(value) &&
    !/^(?:y|n|yes|no|on|off|true|false|null)$/i.test(value)
    ? value
    : JSON.stringify(value);
}

function extensions(message: Message, field: number, value: JsonObject): void {
  for (const [name, extension] of Object.entries(value))
    if (name.startsWith('x-'))
      message.sub(field, extension, (entry) => any(entry.text(1, name), 2, extension));
}

// ----------------------------------------------------------------------------------------------------------------- paths

const METHODS: readonly (readonly [number, string])[] = [
  [4, 'get'],
  [5, 'put'],
  [6, 'post'],
  [7, 'delete'],
  [8, 'options'],
  [9, 'head'],
  [10, 'patch'],
  [11, 'trace'],
];

function pathItem(message: Message, value: JsonObject): void {
  message.text(2, value['summary']).text(3, value['description']);
  for (const [field, method] of METHODS) message.sub(field, asObject(value[method]), operation);
  for (const item of asList(value['parameters'])) message.sub(13, asObject(item), parameterOrReference);
  extensions(message, 14, value);
}

function operation(message: Message, value: JsonObject): void {
  message
    .texts(1, value['tags'])
    .text(2, value['summary'])
    .text(3, value['description'])
    .text(5, value['operationId']);
  for (const item of asList(value['parameters'])) message.sub(6, asObject(item), parameterOrReference);
  message.sub(7, asObject(value['requestBody']), requestBodyOrReference);
  message.sub(8, asObject(value['responses']), responses);
  message.flag(10, value['deprecated']);
  for (const requirement of asList(value['security']))
    message.sub(11, asObject(requirement), securityRequirement);
  extensions(message, 13, value);
}

const parameterOrReference = orReference((message, value) => {
  message
    .text(1, value['name'])
    .text(2, value['in'])
    .text(3, value['description'])
    .flag(4, value['required'])
    .flag(5, value['deprecated'])
    .flag(6, value['allowEmptyValue']);
  message
    .text(7, value['style'])
    .flag(8, value['explode'])
    .flag(9, value['allowReserved'])
    .sub(10, asObject(value['schema']), schemaOrReference);
  content(message, 13, value['content']);
  extensions(message, 14, value);
});

const requestBodyOrReference = orReference((message, value) => {
  message.text(1, value['description']);
  content(message, 2, value['content']);
  message.flag(3, value['required']);
  extensions(message, 4, value);
});

const responseOrReference = orReference((message, value) => {
  message.text(1, value['description']);
  content(message, 3, value['content']);
  extensions(message, 5, value);
});

function responses(message: Message, value: JsonObject): void {
  message.sub(1, asObject(value['default']), responseOrReference);
  for (const [name, answer] of Object.entries(value))
    if (/^[0-9]/.test(name)) named(message, 2, { name, value: answer, write: responseOrReference });
  extensions(message, 3, value);
}

function content(message: Message, field: number, value: unknown): void {
  map(message, field, {
    value,
    write(media, given) {
      media.sub(1, asObject(given['schema']), schemaOrReference);
      extensions(media, 5, given);
    },
  });
}

function securityRequirement(message: Message, value: JsonObject): void {
  for (const [name, scopes] of Object.entries(value))
    message.sub(
      1,
      scopes,
      (entry) => void entry.text(1, name).sub(2, scopes, (list) => void list.texts(1, scopes)),
    );
}

// ------------------------------------------------------------------------------------------------------------ components

function components(message: Message, value: JsonObject): void {
  map(message, 1, { value: value['schemas'], write: schemaOrReference });
  map(message, 2, { value: value['responses'], write: responseOrReference });
  map(message, 3, { value: value['parameters'], write: parameterOrReference });
  map(message, 5, { value: value['requestBodies'], write: requestBodyOrReference });
  map(message, 7, {
    value: value['securitySchemes'],
    write: orReference((scheme, given) => {
      scheme
        .text(1, given['type'])
        .text(2, given['description'])
        .text(3, given['name'])
        .text(4, given['in'])
        .text(5, given['scheme'])
        .text(6, given['bearerFormat']);
      extensions(scheme, 9, given);
    }),
  });
  extensions(message, 10, value);
}

const schemaOrReference = orReference(schema);

const LISTS: readonly (readonly [number, string])[] = [
  [26, 'allOf'],
  [27, 'oneOf'],
  [28, 'anyOf'],
];

function schema(message: Message, value: JsonObject): void {
  message.flag(1, value['nullable']).flag(3, value['readOnly']).flag(4, value['writeOnly']);
  any(message, 7, value['example']);
  message
    .flag(8, value['deprecated'])
    .text(9, value['title'])
    .number(10, value['multipleOf'])
    .number(11, value['maximum'])
    .flag(12, value['exclusiveMaximum']);
  message
    .number(13, value['minimum'])
    .flag(14, value['exclusiveMinimum'])
    .integer(15, value['maxLength'])
    .integer(16, value['minLength'])
    .text(17, value['pattern']);
  message
    .integer(18, value['maxItems'])
    .integer(19, value['minItems'])
    .flag(20, value['uniqueItems'])
    .integer(21, value['maxProperties'])
    .integer(22, value['minProperties']);
  message.texts(23, value['required']);
  for (const one of asList(value['enum'])) any(message, 24, one);
  message.text(25, value['type']);
  for (const [field, name] of LISTS)
    for (const one of asList(value[name])) message.sub(field, asObject(one), schemaOrReference);
  message.sub(29, asObject(value['not']), schema);
  message.sub(30, asObject(value['items']), (items, item) => void items.sub(1, item, schemaOrReference));
  map(message, 31, { value: value['properties'], write: schemaOrReference });
  additionalProperties(message, value['additionalProperties']);
  defaultValue(message, value['default']);
  message.text(34, value['description']).text(35, value['format']);
  extensions(message, 36, value);
}

function additionalProperties(message: Message, value: unknown): void {
  if (typeof value === 'boolean') message.sub(32, value, (item) => void item.flag(2, value));
  else message.sub(32, asObject(value), (item, of) => void item.sub(1, of, schemaOrReference));
}

/** One of three variants; anything else is a message without a value. */
function defaultValue(message: Message, value: unknown): void {
  if (value === undefined) return;
  message.sub(33, value, (one) => {
    if (typeof value === 'number') one.set(1, value);
    else if (typeof value === 'boolean') one.set(2, value);
    else if (typeof value === 'string') one.set(3, value);
  });
}
