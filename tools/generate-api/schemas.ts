/**
 * Writes the models as the compact tables that #api/schemas.ts reads: { package: { type: entry } }.
 * An entry is { f: fields, g?: kinds, m?: map type, u?: unions, v?: scalar, x?: 1 when OpenAPI does not list the type }.
 * A field is [name, type, number or path of numbers (0: none), flags, extras?]; flags: r required, p absence differs from zero,
 * o zero omitted, z the default is the zero value, w wrapped list, d direct reference; extras: d default, l list type, k map keys, m map type,
 * s patch strategy, p patch merge key, e enum, n Go's name of the type, b embedded structs around the field.
 */
import type { FieldModel, TypeModel } from './model.ts';

export function schemaTable(models: readonly TypeModel[]): string {
  const packages = new Map<string, string[]>();
  for (const model of models) {
    const lines = packages.get(model.packageName) ?? [];
    lines.push(`${JSON.stringify(model.name)}:${JSON.stringify(typeEntry(model))}`);
    packages.set(model.packageName, lines);
  }
  return `{\n${[...packages].map(([name, lines]) => `${JSON.stringify(name)}:{\n${lines.join(',\n')}}`).join(',\n')}\n}\n`;
}

function typeEntry(model: TypeModel): object {
  return {
    ...(model.scalar !== undefined ? { v: model.scalar } : { f: model.fields.map(fieldEntry) }),
    ...(model.kinds.length > 0 && {
      g: model.kinds.map(({ group, version, kind }) => `${group}/${version}/${kind}`),
    }),
    ...(model.mapType !== undefined && { m: model.mapType }),
    ...(model.unions && { u: model.unions }),
    ...(!model.inSpecification && { x: 1 }),
  };
}

function fieldEntry(field: FieldModel): unknown[] {
  const zeroDefault = field.default !== undefined && isZero(field.default);
  const flags =
    (field.required ? 'r' : '') +
    { distinct: 'p', omitted: 'o', written: '' }[field.zero] +
    (zeroDefault ? 'z' : '') +
    (field.wrapped ? 'w' : '') +
    (field.directRef ? 'd' : '');
  const extras = {
    ...(field.default !== undefined && !zeroDefault && { d: field.default }),
    ...(field.listType !== undefined && { l: field.listType }),
    ...(field.mapKeys && { k: field.mapKeys }),
    ...(field.mapType !== undefined && { m: field.mapType }),
    ...(field.patchStrategy !== undefined && { s: field.patchStrategy }),
    ...(field.patchMergeKey !== undefined && { p: field.patchMergeKey }),
    ...(field.enum && { e: field.enum }),
    ...(field.goType !== undefined && { n: field.goType }),
    ...(field.within && { b: field.within }),
  };
  const number = field.numbers.length > 1 ? field.numbers : (field.numbers[0] ?? 0);
  const entry: unknown[] = [field.name, field.type, number, flags];
  return Object.keys(extras).length > 0 ? [...entry, extras] : entry;
}

function isZero(value: unknown): boolean {
  return (
    value === '' ||
    value === 0 ||
    value === false ||
    (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  );
}
