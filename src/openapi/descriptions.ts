/**
 * Descriptions for `kubectl explain`: our own texts in description-table.ts, and for other fields a sentence generated from name and type.
 */
import {
  commonFields,
  fieldDescriptions,
  parameterDescriptions,
  typeDescriptions,
} from './description-table.ts';

/** typeName is the short name: 'PodSpec'. */
export function describeType(typeName: string): string {
  const known = typeDescriptions[typeName];
  if (known !== undefined) return known;
  const listed = /^(.+)List$/.exec(typeName);
  return listed ? `A list of ${listed[1]} objects.` : `${capitalised(words(typeName))}: see the fields.`;
}

/** type is as in the generated tables: 'string', 'list:Container', 'map:quantity', … */
export function describeField(typeName: string, field: string, type: string): string {
  return fieldDescriptions[`${typeName}.${field}`] ?? commonFields[field] ?? derivedDescription(field, type);
}

export function describeParameter(name: string): string {
  return parameterDescriptions[name] ?? `${capitalised(words(name))}.`;
}

/** Changes when any description does. */
export function descriptionsVersion(): string {
  return JSON.stringify([typeDescriptions, fieldDescriptions, commonFields, parameterDescriptions]);
}

const scalarWords: Readonly<Record<string, string>> = {
  string: 'text',
  bool: 'true or false',
  int32: 'a whole number',
  int64: 'a whole number',
  double: 'a number',
  bytes: 'base64-encoded bytes',
  time: 'a time, RFC 3339',
  'micro-time': 'a time with microseconds, RFC 3339',
  duration: 'a duration such as 1m30s',
  quantity: 'an amount such as 500m or 1Gi',
  'int-or-string': 'a number or text',
  'fields-v1': 'a set of fields',
  'raw-extension': 'any object',
  json: 'any JSON value',
};

function derivedDescription(field: string, type: string): string {
  const seconds = /^(.+)Seconds$/.exec(field);
  if (seconds) return `${capitalised(words(seconds[1]!))}, in seconds.`;
  return `${capitalised(words(field))}: ${typeWords(type)}.`;
}

function typeWords(type: string): string {
  if (type.startsWith('list:')) return `a list, each item ${elementWords(type.slice(5))}`;
  if (type.startsWith('map:')) return `values by name, each ${elementWords(type.slice(4))}`;
  return elementWords(type);
}

function elementWords(type: string): string {
  if (type.startsWith('list:')) return typeWords(type);
  const scalar = scalarWords[type.split(':')[0]!];
  return scalar ?? `a ${type.slice(type.lastIndexOf('.') + 1)} object`;
}

/** 'podAffinityTerm' → 'pod affinity term'; 'hostIPs' → 'host IPs'. */
function words(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z](?!s\b)[a-z])/g, '$1 $2')
    .split(' ')
    .map((word) => (/^[A-Z][a-z]/.test(word) ? word.toLowerCase() : word))
    .join(' ');
}

function capitalised(text: string): string {
  return text === '' ? text : text[0]!.toUpperCase() + text.slice(1);
}
