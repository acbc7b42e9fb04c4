/**
 * An OpenAPI v2 document as protobuf: gnostic's openapi.v2.Document, used by kubectl and client-go. Field numbers are those of its published .proto file;
 * parts that a cluster's document never has (contact, license, OAuth, files, XML) are omitted.
 */
import { Message } from '#machinery/codec/message.ts';
import { asList, asObject, type JsonObject } from '#machinery/json.ts';

export function encodeOpenapiV2(document: JsonObject): Buffer {
  const message = new Message();
  message.text(1, document['swagger']);
  message.sub(2, asObject(document['info']), info);
  message.texts(5, document['schemes']).texts(6, document['consumes']).texts(7, document['produces']);
  message.sub(8, asObject(document['paths']), (paths, value) => {
    for (const [name, item] of Object.entries(value))
      if (name.startsWith('/')) named(paths, 2, { name, value: asObject(item), write: pathItem });
  });
  message.sub(9, asObject(document['definitions']), namedSchemas);
  for (const requirement of asList(document['security']))
    message.sub(12, asObject(requirement), securityRequirement);
  message.sub(13, asObject(document['securityDefinitions']), (definitions, value) => {
    for (const [name, item] of Object.entries(value))
      named(definitions, 1, { name, value: asObject(item), write: securityDefinition });
  });
  extensions(message, 16, document);
  return message.finish();
}

type Write = (message: Message, value: JsonObject) => void;

function named(
  message: Message,
  field: number,
  {
    name,
    value,
    write,
  }: { readonly name: string; readonly value: JsonObject | undefined; readonly write: Write },
): void {
  message.sub(field, {}, (entry) => void entry.text(1, name).sub(2, value ?? {}, write));
}

/** Any value is carried as YAML, of which JSON is a part. */
function any(message: Message, field: number, value: unknown): void {
  if (value !== undefined)
    message.sub(field, {}, (inner) => void inner.text(2, `${JSON.stringify(value)}\n`));
}

function extensions(message: Message, field: number, value: JsonObject): void {
  for (const [name, extension] of Object.entries(value)) {
    if (name.startsWith('x-')) message.sub(field, {}, (entry) => any(entry.text(1, name), 2, extension));
  }
}

function info(message: Message, value: JsonObject): void {
  message.text(1, value['title']).text(2, value['version']).text(3, value['description']);
}

const METHODS: readonly (readonly [number, string])[] = [
  [2, 'get'],
  [3, 'put'],
  [4, 'post'],
  [5, 'delete'],
  [6, 'options'],
  [7, 'head'],
  [8, 'patch'],
];

function pathItem(message: Message, value: JsonObject): void {
  for (const [field, method] of METHODS) message.sub(field, asObject(value[method]), operation);
  for (const item of asList(value['parameters'])) message.sub(9, asObject(item), parametersItem);
  extensions(message, 10, value);
}

function operation(message: Message, value: JsonObject): void {
  message
    .texts(1, value['tags'])
    .text(2, value['summary'])
    .text(3, value['description'])
    .text(5, value['operationId'])
    .texts(6, value['produces'])
    .texts(7, value['consumes']);
  for (const item of asList(value['parameters'])) message.sub(8, asObject(item), parametersItem);
  message.sub(9, asObject(value['responses']), (responses, codes) => {
    for (const [name, answer] of Object.entries(codes))
      if (!name.startsWith('x-'))
        named(responses, 1, { name, value: asObject(answer), write: responseValue });
  });
  message.texts(10, value['schemes']).flag(11, value['deprecated']);
  for (const requirement of asList(value['security']))
    message.sub(12, asObject(requirement), securityRequirement);
  extensions(message, 13, value);
}

function responseValue(message: Message, value: JsonObject): void {
  if (typeof value['$ref'] === 'string') return void message.sub(2, value, reference);
  message.sub(1, value, (response) => {
    response
      .text(1, value['description'])
      .sub(2, asObject(value['schema']), (item, given) => void item.sub(1, given, schema));
    extensions(response, 5, value);
  });
}

function reference(message: Message, value: JsonObject): void {
  message.text(1, value['$ref']).text(2, value['description']);
}

function parametersItem(message: Message, value: JsonObject): void {
  if (typeof value['$ref'] === 'string') return void message.sub(2, value, reference);
  message.sub(1, value, (parameter) => {
    if (value['in'] === 'body') parameter.sub(1, value, bodyParameter);
    else parameter.sub(2, value, nonBodyParameter);
  });
}

function bodyParameter(message: Message, value: JsonObject): void {
  message
    .text(1, value['description'])
    .text(2, value['name'])
    .text(3, value['in'])
    .flag(4, value['required'])
    .sub(5, asObject(value['schema']), schema);
  extensions(message, 6, value);
}

/** Which of the four kinds of parameter, and by how much its fields come later: two of them may be empty. */
const PARAMETER_KINDS: Readonly<Record<string, { readonly field: number; readonly shift: number }>> = {
  header: { field: 1, shift: 0 },
  formData: { field: 2, shift: 1 },
  query: { field: 3, shift: 1 },
  path: { field: 4, shift: 0 },
};

function nonBodyParameter(message: Message, value: JsonObject): void {
  const kind = PARAMETER_KINDS[String(value['in'])];
  if (!kind) return;
  const { field, shift } = kind;
  message.sub(field, value, (inner) => {
    inner
      .flag(1, value['required'])
      .text(2, value['in'])
      .text(3, value['description'])
      .text(4, value['name']);
    if (shift === 1) inner.flag(5, value['allowEmptyValue']);
    primitive(inner, value, 5 + shift);
    inner.flag(19 + shift, value['uniqueItems']);
    for (const one of asList(value['enum'])) any(inner, 20 + shift, one);
    extensions(inner, 22 + shift, value);
  });
}

/** type, format, items, collectionFormat and default, from this field on. */
function primitive(message: Message, value: JsonObject, first: number): void {
  message
    .text(first, value['type'])
    .text(first + 1, value['format'])
    .sub(first + 2, asObject(value['items']), (items, inner) => primitive(items, inner, 1))
    .text(first + 3, value['collectionFormat']);
  any(message, first + 4, value['default']);
}

function schema(message: Message, value: JsonObject): void {
  message
    .text(1, value['$ref'])
    .text(2, value['format'])
    .text(3, value['title'])
    .text(4, value['description']);
  any(message, 5, value['default']);
  message
    .number(6, value['multipleOf'])
    .number(7, value['maximum'])
    .flag(8, value['exclusiveMaximum'])
    .number(9, value['minimum'])
    .flag(10, value['exclusiveMinimum']);
  message
    .integer(11, value['maxLength'])
    .integer(12, value['minLength'])
    .text(13, value['pattern'])
    .integer(14, value['maxItems'])
    .integer(15, value['minItems'])
    .flag(16, value['uniqueItems']);
  message
    .integer(17, value['maxProperties'])
    .integer(18, value['minProperties'])
    .texts(19, value['required']);
  for (const one of asList(value['enum'])) any(message, 20, one);
  const additional = value['additionalProperties'];
  if (typeof additional === 'boolean') message.sub(21, {}, (item) => void item.flag(2, additional));
  else message.sub(21, asObject(additional), (item, inner) => void item.sub(1, inner, schema));
  const { type, items } = value;
  if (type !== undefined)
    message.sub(22, {}, (item) => void item.texts(1, Array.isArray(type) ? type : [type]));
  if (items !== undefined)
    message.sub(23, {}, (item) => {
      for (const one of Array.isArray(items) ? items : [items]) item.sub(1, asObject(one), schema);
    });
  for (const one of asList(value['allOf'])) message.sub(24, asObject(one), schema);
  message
    .sub(25, asObject(value['properties']), namedSchemas)
    .text(26, value['discriminator'])
    .flag(27, value['readOnly']);
  any(message, 30, value['example']);
  extensions(message, 31, value);
}

function namedSchemas(message: Message, value: JsonObject): void {
  for (const [name, item] of Object.entries(value))
    named(message, 1, { name, value: asObject(item), write: schema });
}

function securityRequirement(message: Message, value: JsonObject): void {
  for (const [name, scopes] of Object.entries(value))
    named(message, 1, { name, value: {}, write: (array) => void array.texts(1, scopes) });
}

/** Only keys in a header are offered. */
function securityDefinition(message: Message, value: JsonObject): void {
  message.sub(2, value, (key) => {
    key.text(1, value['type']).text(2, value['name']).text(3, value['in']).text(4, value['description']);
    extensions(key, 5, value);
  });
}
