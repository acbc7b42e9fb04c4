/**
 * An OpenAPI v2 document as protobuf: gnostic's openapi.v2.Document, which kubectl and client-go ask for. Field numbers are those of its published
 * .proto file; what a cluster's document never has (contact, license, OAuth, files, XML) is not written.
 */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

export function encodeOpenapiV2(document: JsonObject): Buffer {
  const message = new Message();
  message.text(1, document['swagger']);
  message.sub(2, asObject(document['info']), info);
  message.texts(5, document['schemes']).texts(6, document['consumes']).texts(7, document['produces']);
  message.sub(8, asObject(document['paths']), (paths, value) => {
    for (const [name, item] of Object.entries(value)) if (name.startsWith('/')) named(paths, 2, { name, value: asObject(item), write: pathItem });
  });
  message.sub(9, asObject(document['definitions']), namedSchemas);
  for (const requirement of asList(document['security'])) message.sub(12, asObject(requirement), securityRequirement);
  message.sub(13, asObject(document['securityDefinitions']), (definitions, value) => {
    for (const [name, item] of Object.entries(value)) named(definitions, 1, { name, value: asObject(item), write: securityDefinition });
  });
  extensions(message, 16, document);
  return message.finish();
}

type Write = (message: Message, value: JsonObject) => void;

const FIRST_BYTES = 2 * 1024 * 1024;

/** One buffer, written from the front. Lengths are put in when what they are of is written; where one takes more than a byte, that much is moved. */
class Message {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  #reserve(count: number): void {
    if (this.#at + count <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + count));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }

  #varint(value: number): void {
    this.#reserve(10);
    if (value < 0) {
      let rest = BigInt.asUintN(64, BigInt(value));
      for (; rest >= 0x80n; rest >>= 7n) this.#buffer[this.#at++] = Number(rest & 0x7fn) | 0x80;
      this.#buffer[this.#at++] = Number(rest);
      return;
    }
    let number = value;
    for (; number >= 0x80; number = Math.floor(number / 128)) this.#buffer[this.#at++] = (number % 128) | 0x80;
    this.#buffer[this.#at++] = number;
  }

  /** What write() writes, as the content of a field with a length. */
  #sized(field: number, write: () => void): this {
    this.#varint(field * 8 + 2);
    this.#reserve(1);
    const start = ++this.#at;
    write();
    const length = this.#at - start;
    let more = 0;
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 128)) more++;
    if (more > 0) {
      this.#reserve(more);
      this.#buffer.copyWithin(start + more, start, this.#at);
    }
    const end = this.#at + more;
    this.#at = start - 1;
    this.#varint(length);
    this.#at = end;
    return this;
  }

  /** Strings that are absent or empty take no bytes. */
  text(field: number, value: unknown): this {
    return typeof value === 'string' && value !== '' ? this.#text(field, value) : this;
  }

  #text(field: number, value: string): this {
    return this.#sized(field, () => {
      this.#reserve(value.length * 3);
      this.#at += this.#buffer.write(value, this.#at);
    });
  }

  texts(field: number, values: unknown): this {
    for (const value of asList(values)) if (typeof value === 'string') this.#text(field, value);
    return this;
  }

  flag(field: number, value: unknown): this {
    if (value !== true) return this;
    this.#varint(field * 8);
    this.#varint(1);
    return this;
  }

  integer(field: number, value: unknown): this {
    if (typeof value !== 'number' || value === 0) return this;
    this.#varint(field * 8);
    this.#varint(value);
    return this;
  }

  number(field: number, value: unknown): this {
    if (typeof value !== 'number' || value === 0) return this;
    this.#varint(field * 8 + 1);
    this.#reserve(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
    return this;
  }

  /** Nothing for undefined; an empty message is written as one. */
  sub(field: number, value: JsonObject | undefined, write: Write): this {
    return value === undefined ? this : this.#sized(field, () => write(this, value));
  }

  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }
}

function asObject(value: unknown): JsonObject | undefined {
  return isJsonObject(value) ? value : undefined;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function named(message: Message, field: number, { name, value, write }: { readonly name: string; readonly value: JsonObject | undefined; readonly write: Write }): void {
  message.sub(field, {}, (entry) => void entry.text(1, name).sub(2, value ?? {}, write));
}

/** Any value is carried as YAML, of which JSON is a part. */
function any(message: Message, field: number, value: unknown): void {
  if (value !== undefined) message.sub(field, {}, (inner) => void inner.text(2, `${JSON.stringify(value)}\n`));
}

function extensions(message: Message, field: number, value: JsonObject): void {
  for (const [name, extension] of Object.entries(value)) {
    if (name.startsWith('x-')) message.sub(field, {}, (entry) => any(entry.text(1, name), 2, extension));
  }
}

function info(message: Message, value: JsonObject): void {
  message.text(1, value['title']).text(2, value['version']).text(3, value['description']);
}

const METHODS: readonly (readonly [number, string])[] = [[2, 'get'], [3, 'put'], [4, 'post'], [5, 'delete'], [6, 'options'], [7, 'head'], [8, 'patch']];

function pathItem(message: Message, value: JsonObject): void {
  for (const [field, method] of METHODS) message.sub(field, asObject(value[method]), operation);
  for (const item of asList(value['parameters'])) message.sub(9, asObject(item), parametersItem);
  extensions(message, 10, value);
}

function operation(message: Message, value: JsonObject): void {
  message.texts(1, value['tags']).text(2, value['summary']).text(3, value['description']).text(5, value['operationId']).texts(6, value['produces']).texts(7, value['consumes']);
  for (const item of asList(value['parameters'])) message.sub(8, asObject(item), parametersItem);
  message.sub(9, asObject(value['responses']), (responses, codes) => {
    for (const [name, answer] of Object.entries(codes)) if (!name.startsWith('x-')) named(responses, 1, { name, value: asObject(answer), write: responseValue });
  });
  message.texts(10, value['schemes']).flag(11, value['deprecated']);
  for (const requirement of asList(value['security'])) message.sub(12, asObject(requirement), securityRequirement);
  extensions(message, 13, value);
}

function responseValue(message: Message, value: JsonObject): void {
  if (typeof value['$ref'] === 'string') return void message.sub(2, value, reference);
  message.sub(1, value, (response) => {
    response.text(1, value['description']).sub(2, asObject(value['schema']), (item, given) => void item.sub(1, given, schema));
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
  message.text(1, value['description']).text(2, value['name']).text(3, value['in']).flag(4, value['required']).sub(5, asObject(value['schema']), schema);
  extensions(message, 6, value);
}

/** Which of the four kinds of parameter, and by how much its fields come later: two of them may be empty. */
const PARAMETER_KINDS: Readonly<Record<string, { readonly field: number; readonly shift: number }>> = {
  header: { field: 1, shift: 0 }, formData: { field: 2, shift: 1 }, query: { field: 3, shift: 1 }, path: { field: 4, shift: 0 },
};

function nonBodyParameter(message: Message, value: JsonObject): void {
  const kind = PARAMETER_KINDS[String(value['in'])];
  if (!kind) return;
  const { field, shift } = kind;
  message.sub(field, value, (inner) => {
    inner.flag(1, value['required']).text(2, value['in']).text(3, value['description']).text(4, value['name']);
    if (shift === 1) inner.flag(5, value['allowEmptyValue']);
    primitive(inner, value, 5 + shift);
    inner.flag(19 + shift, value['uniqueItems']);
    for (const one of asList(value['enum'])) any(inner, 20 + shift, one);
    extensions(inner, 22 + shift, value);
  });
}

/** type, format, items, collectionFormat and default, from this field on. */
function primitive(message: Message, value: JsonObject, first: number): void {
  message.text(first, value['type']).text(first + 1, value['format']).sub(first + 2, asObject(value['items']), (items, inner) => primitive(items, inner, 1)).text(first + 3, value['collectionFormat']);
  any(message, first + 4, value['default']);
}

function schema(message: Message, value: JsonObject): void {
  message.text(1, value['$ref']).text(2, value['format']).text(3, value['title']).text(4, value['description']);
  any(message, 5, value['default']);
  message.number(6, value['multipleOf']).number(7, value['maximum']).flag(8, value['exclusiveMaximum']).number(9, value['minimum']).flag(10, value['exclusiveMinimum']);
  message.integer(11, value['maxLength']).integer(12, value['minLength']).text(13, value['pattern']).integer(14, value['maxItems']).integer(15, value['minItems']).flag(16, value['uniqueItems']);
  message.integer(17, value['maxProperties']).integer(18, value['minProperties']).texts(19, value['required']);
  for (const one of asList(value['enum'])) any(message, 20, one);
  const additional = value['additionalProperties'];
  if (typeof additional === 'boolean') message.sub(21, {}, (item) => void item.flag(2, additional));
  else message.sub(21, asObject(additional), (item, inner) => void item.sub(1, inner, schema));
  const { type, items } = value;
  if (type !== undefined) message.sub(22, {}, (item) => void item.texts(1, Array.isArray(type) ? type : [type]));
  if (items !== undefined) message.sub(23, {}, (item) => {
    for (const one of Array.isArray(items) ? items : [items]) item.sub(1, asObject(one), schema);
  });
  for (const one of asList(value['allOf'])) message.sub(24, asObject(one), schema);
  message.sub(25, asObject(value['properties']), namedSchemas).text(26, value['discriminator']).flag(27, value['readOnly']);
  any(message, 30, value['example']);
  extensions(message, 31, value);
}

function namedSchemas(message: Message, value: JsonObject): void {
  for (const [name, item] of Object.entries(value)) named(message, 1, { name, value: asObject(item), write: schema });
}

function securityRequirement(message: Message, value: JsonObject): void {
  for (const [name, scopes] of Object.entries(value)) named(message, 1, { name, value: {}, write: (array) => void array.texts(1, scopes) });
}

/** Only keys in a header are offered. */
function securityDefinition(message: Message, value: JsonObject): void {
  message.sub(2, value, (key) => {
    key.text(1, value['type']).text(2, value['name']).text(3, value['in']).text(4, value['description']);
    extensions(key, 5, value);
  });
}
