/**
 * Merges the three sources of facts about a type — OpenAPI (required, defaults, list types), protobuf (numbers, wire types) and the Go
 * facts (pointers, omitted zero values, embedded structs) — into one model, from which every table is written.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  readProtoPackages,
  readSpecSchemas,
  type ProtoField,
  type ProtoPackage,
  type SpecSchema,
} from './source.ts';

export interface FieldModel {
  readonly name: string;
  /** A scalar type, 'Type' of the same package, a full definition name, 'list:' + items or 'map:' + values. */
  readonly type: string;
  readonly required: boolean;
  /** How the zero value shows: 'distinct' from absence, 'omitted' from JSON, or always 'written'. */
  readonly zero: 'distinct' | 'omitted' | 'written';
  /** Field numbers from the message down: one, or several when embedded messages lie between. Empty: not on the wire. */
  readonly numbers: readonly number[];
  readonly default?: unknown;
  readonly listType?: string;
  readonly mapKeys?: readonly string[];
  readonly mapType?: string;
  readonly patchStrategy?: string;
  readonly patchMergeKey?: string;
  readonly enum?: readonly string[];
  /** On the wire a list inside a message of its own. */
  readonly wrapped?: boolean;
  /** OpenAPI refers to the type directly rather than through allOf. */
  readonly directRef?: boolean;
  /** What Go calls the type, where that is another name for a text, number, list or map: 'v1.Protocol'. */
  readonly goType?: string;
  /** Names of the embedded structs around the field, outermost first. */
  readonly within?: readonly string[];
}

export interface TypeModel {
  /** 'io.k8s.api.core.v1' */
  readonly packageName: string;
  readonly name: string;
  /** Set for types that are one JSON value: Quantity, Time, … */
  readonly scalar?: string;
  readonly fields: readonly FieldModel[];
  readonly kinds: readonly { group: string; version: string; kind: string }[];
  readonly mapType?: string;
  readonly unions?: readonly unknown[];
  readonly inSpecification: boolean;
}

interface PackageFacts {
  readonly types: Readonly<Record<string, string>>;
  readonly enums: Readonly<Record<string, readonly string[]>>;
  readonly enumFields: Readonly<Record<string, string>>;
  readonly goTypes: Readonly<Record<string, string>>;
}

const scalarTypes: Readonly<Record<string, string>> = {
  'io.k8s.apimachinery.pkg.api.resource.Quantity': 'quantity',
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': 'int-or-string',
  'io.k8s.apimachinery.pkg.apis.meta.v1.Time': 'time',
  'io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime': 'micro-time',
  'io.k8s.apimachinery.pkg.apis.meta.v1.Duration': 'duration',
  'io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1': 'fields-v1',
  'io.k8s.apimachinery.pkg.runtime.RawExtension': 'raw-extension',
  'io.k8s.apimachinery.pkg.runtime.Unknown': 'json',
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON': 'json',
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray': 'json:schema-or-array',
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool': 'json:schema-or-bool',
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray':
    'json:schema-or-strings',
};

/** Packages that no OpenAPI document has but that the server, the client or the audit log use. */
const additionalPackages = [
  'io.k8s.api.admission.v1',
  'io.k8s.api.apidiscovery.v2',
  'io.k8s.api.apidiscovery.v2beta1',
  'io.k8s.api.imagepolicy.v1alpha1',
  'io.k8s.apiserver.pkg.apis.audit.v1',
  'io.k8s.metrics.pkg.apis.metrics.v1beta1',
  'io.k8s.apimachinery.pkg.apis.meta.v1beta1',
];
/** Messages of the wire format that are no API types of their own. */
const wireOnlyTypes =
  /\.(ExtraValue|Verbs|Timestamp|Unknown|TypeMeta|QuantityValue|UncountedTerminatedPodsList)$/;

const goFacts = JSON.parse(readFileSync(join(import.meta.dirname, 'go-facts.json'), 'utf8')) as Record<
  string,
  PackageFacts
>;

const protoToDefinition = (name: string): string =>
  `io.k8s.${name.replace(/^k8s\.io\./, '').replace(/_apiserver|_aggregator/, (part) => part.replace('_', '-'))}`;

interface Models {
  /** What a 1.36 server, its clients and its audit log speak. */
  readonly served: readonly TypeModel[];
  /** Versions that 1.36 does not serve, known from the wire format. */
  readonly unserved: readonly TypeModel[];
}

export function buildModels(): Models {
  return new ModelBuilder().build();
}

class ModelBuilder {
  readonly #spec = readSpecSchemas();
  readonly #packages: Record<string, ProtoPackage> = {};

  constructor() {
    for (const [name, source] of Object.entries(readProtoPackages())) {
      if (name.startsWith('k8s.io.')) this.#packages[protoToDefinition(name)] = source;
    }
  }

  build(): Models {
    const specPackages = new Set(Object.keys(this.#spec).map((name) => packageOf(name)));
    const servedPackages = new Set([...specPackages, ...additionalPackages]);
    const served = new Set([
      ...Object.keys(this.#spec),
      ...[...servedPackages].flatMap((name) => this.#protoTypes(name)),
    ]);
    const unservedPackages = Object.keys(this.#packages).filter(
      (name) => name.startsWith('io.k8s.api.') && !servedPackages.has(name),
    );
    const unserved = unservedPackages.flatMap((name) => this.#protoTypes(name));
    const models = (names: Iterable<string>): TypeModel[] =>
      [...names].toSorted().map((name) => this.#type(name));
    return { served: models(served), unserved: models(unserved) };
  }

  #protoTypes(packageName: string): string[] {
    const embedded = new Set(
      Object.values(goFacts[packageName]?.types ?? {}).flatMap((facts) =>
        [...facts.matchAll(/\^(\w+)=/g)].map((match) => match[1]!),
      ),
    );
    const messages = Object.keys(this.#packages[packageName]?.messages ?? {});
    return messages
      .filter((name) => !embedded.has(name) || this.#spec[`${packageName}.${name}`])
      .map((name) => `${packageName}.${name}`)
      .filter((name) => !wireOnlyTypes.test(name));
  }

  #type(definition: string): TypeModel {
    const packageName = packageOf(definition);
    const name = definition.slice(packageName.length + 1);
    const spec = this.#spec[definition];
    const scalar = scalarTypes[definition];
    const fields = scalar === undefined ? this.#fields(definition, { spec, path: [], within: [] }) : [];
    return {
      packageName,
      name,
      fields,
      ...(scalar !== undefined && { scalar }),
      kinds: spec?.['x-kubernetes-group-version-kind'] ?? [],
      ...(spec?.['x-kubernetes-map-type'] !== undefined && { mapType: spec['x-kubernetes-map-type'] }),
      ...(spec?.['x-kubernetes-unions'] && { unions: spec['x-kubernetes-unions'] }),
      inSpecification: spec !== undefined,
    };
  }

  #fields(
    definition: string,
    context: { spec: SpecSchema | undefined; path: readonly number[]; within: readonly string[] },
  ): FieldModel[] {
    const packageName = packageOf(definition);
    const facts = goFacts[packageName]?.types[definition.slice(packageName.length + 1)];
    if (facts !== undefined) return this.#fieldsFromFacts(definition, { ...context, facts });
    return this.#fieldsFromSources(definition, context.spec);
  }

  #fieldsFromFacts(
    definition: string,
    {
      facts,
      spec,
      path,
      within,
    }: { facts: string; spec: SpecSchema | undefined; path: readonly number[]; within: readonly string[] },
  ): FieldModel[] {
    const packageName = packageOf(definition);
    const proto = new Map(this.#messageFields(definition).map((field) => [field[1], field]));
    return facts
      .split(' ')
      .filter((token) => token !== '')
      .flatMap((token) => {
        if (token === '+') return this.#typeMeta(spec);
        const [, embedded, name, number, flags] = /^(\^?)(.*)=(\d*)([*0-]*)$/.exec(
          token,
        ) as unknown as string[];
        if (embedded) {
          const type = proto.get(Number(number))?.[2] ?? name!;
          const inner = type.startsWith('.') ? protoToDefinition(type.slice(1)) : `${packageName}.${type}`;
          return this.#fields(inner, {
            spec,
            path: [...path, Number(number)],
            within: [...within, name!.slice(name!.lastIndexOf('.') + 1)],
          });
        }
        const specField = spec?.properties?.[name!];
        const protoField = proto.get(Number(number));
        if (spec && !specField) {
          console.log(`not in the specification, left out: ${definition}.${name}`);
          return [];
        }
        if (!specField && !protoField) return [];
        return [
          this.#field({ definition, name: name!, spec, specField, protoField, path, within, flags: flags! }),
        ];
      });
  }

  /** For types without Go facts: the specification's fields, then the wire's. */
  #fieldsFromSources(definition: string, spec: SpecSchema | undefined): FieldModel[] {
    const proto = new Map(this.#messageFields(definition).map((field) => [field[0], field]));
    const names = new Set([...proto.keys(), ...Object.keys(spec?.properties ?? {})]);
    const fields = [...names].map((name) =>
      this.#field({
        definition,
        name,
        spec,
        specField: spec?.properties?.[name],
        protoField: proto.get(name),
        path: [],
        within: [],
        flags: spec?.required?.includes(name) ? '' : '-',
      }),
    );
    const kind = proto.has('metadata') && proto.get('metadata')![2].endsWith('Meta') && !names.has('kind');
    return kind ? [...this.#typeMeta(undefined), ...fields] : fields;
  }

  #typeMeta(spec: SpecSchema | undefined): FieldModel[] {
    const fields = ['apiVersion', 'kind'].map((name) => ({
      name,
      type: 'string',
      required: false,
      zero: 'omitted' as const,
      numbers: [],
    }));
    return spec ? fields.filter(({ name }) => spec.properties?.[name]) : fields;
  }

  #messageFields(definition: string): readonly ProtoField[] {
    const packageName = packageOf(definition);
    return this.#packages[packageName]?.messages[definition.slice(packageName.length + 1)] ?? [];
  }

  #field(input: {
    definition: string;
    name: string;
    spec: SpecSchema | undefined;
    specField: SpecSchema | undefined;
    protoField: ProtoField | undefined;
    path: readonly number[];
    within: readonly string[];
    flags: string;
  }): FieldModel {
    const { definition, name, spec, specField, protoField, path, within, flags } = input;
    const packageName = packageOf(definition);
    const wireType = protoField && this.#wireType(protoField, packageName);
    const type = specField ? this.#specType(specField, packageName) : wireType!;
    if (wireType !== undefined && wireType !== type)
      console.log(`wire type differs: ${definition}.${name} ${type} ${wireType}`);
    const place = `${definition.slice(packageName.length + 1)}.${name}`;
    const enumName = goFacts[packageName]?.enumFields[place],
      goType = goFacts[packageName]?.goTypes[place];
    return {
      name,
      type,
      required: spec?.required?.includes(name) ?? false,
      zero: flags.includes('*')
        ? 'distinct'
        : flags.includes('0') || (flags.includes('-') && !this.#isStruct(type))
          ? 'omitted'
          : 'written',
      numbers: protoField ? [...path, protoField[1]] : [],
      ...(specField?.default !== undefined && { default: specField.default }),
      ...(specField?.['x-kubernetes-list-type'] !== undefined && {
        listType: specField['x-kubernetes-list-type'],
      }),
      ...(specField?.['x-kubernetes-list-map-keys'] && { mapKeys: specField['x-kubernetes-list-map-keys'] }),
      ...(specField?.['x-kubernetes-map-type'] !== undefined && {
        mapType: specField['x-kubernetes-map-type'],
      }),
      ...(specField?.['x-kubernetes-patch-strategy'] !== undefined && {
        patchStrategy: specField['x-kubernetes-patch-strategy'],
      }),
      ...(specField?.['x-kubernetes-patch-merge-key'] !== undefined && {
        patchMergeKey: specField['x-kubernetes-patch-merge-key'],
      }),
      ...(enumName !== undefined && { enum: goFacts[packageName]!.enums[enumName]!.toSorted() }),
      ...(protoField?.[2].endsWith('Verbs') && { wrapped: true }),
      ...(specField?.$ref !== undefined && { directRef: true }),
      ...(goType !== undefined && { goType }),
      ...(within.length > 0 && { within }),
    };
  }

  /** omitempty has no effect on structs, Time included. */
  #isStruct(type: string): boolean {
    return /^[A-Z]|^io\.|^(time|micro-time|quantity|int-or-string|raw-extension|fields-v1|duration)$/.test(
      type,
    );
  }

  #specType(schema: SpecSchema, packageName: string): string {
    const reference = schema.$ref ?? schema.allOf?.[0]?.$ref;
    if (reference !== undefined)
      return this.#reference(reference.slice(reference.lastIndexOf('/') + 1), packageName);
    if (schema.type === 'array') return `list:${this.#specType(schema.items!, packageName)}`;
    if (schema.type === 'object') return `map:${this.#specType(schema.additionalProperties!, packageName)}`;
    if (schema.type === 'boolean') return 'bool';
    if (schema.type === 'integer') return schema.format ?? 'int64';
    if (schema.type === 'number') return 'double';
    if (schema.type === 'string') return schema.format === 'byte' ? 'bytes' : 'string';
    throw new Error(`Unknown schema ${JSON.stringify(schema)}`);
  }

  #wireType([, , type, label]: ProtoField, packageName: string): string {
    const map = /^map<string,\s*(.+)>$/.exec(type);
    if (map) return `map:${this.#wireReference(map[1]!, packageName)}`;
    const single = this.#wireReference(type, packageName);
    return label === 'repeated' ? `list:${single}` : single;
  }

  #wireReference(type: string, packageName: string): string {
    if (/^[a-z]\w*$/.test(type)) return type;
    const definition = type.startsWith('.') ? protoToDefinition(type.slice(1)) : `${packageName}.${type}`;
    if (/\.(ExtraValue|Verbs)$/.test(definition)) return 'list:string';
    return this.#reference(definition, packageName);
  }

  #reference(definition: string, packageName: string): string {
    return (
      scalarTypes[definition] ??
      (packageOf(definition) === packageName ? definition.slice(packageName.length + 1) : definition)
    );
  }
}

function packageOf(definition: string): string {
  return definition.slice(0, definition.lastIndexOf('.'));
}
