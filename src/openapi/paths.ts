/**
 * OpenAPI v3 paths and operations of a resource, derived from its discovery data. Built-in and custom resources share this code; they differ in their
 * encodings and in the location of their definitions.
 */
import type { GroupVersion, GroupVersionKind } from '#machinery/object.ts';
import { describeParameter } from './descriptions.ts';
import type { JsonSchema } from './schemas.ts';
import { schemaReference } from './schemas.ts';
import type { ResourceFacts, SubresourceFacts } from '#api/resources.ts';
import { findTypeEntry } from '#api/schemas.ts';

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'path';
  readonly description: string;
  readonly required?: true;
  readonly schema: JsonSchema;
}
interface Content {
  readonly [mediaType: string]: { readonly schema: JsonSchema };
}
export interface Operation {
  readonly description: string;
  readonly operationId: string;
  readonly tags: readonly string[];
  parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Content; readonly required?: true };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
  readonly 'x-kubernetes-action'?: string;
  readonly 'x-kubernetes-group-version-kind'?: GroupVersionKind;
}
export type PathItem = Record<string, Operation | readonly Parameter[]>;
export type Paths = Record<string, PathItem>;

interface PathOptions {
  /** The definition of a kind, e.g. 'io.k8s.api.apps.v1.Deployment'. */
  readonly definitionOf: (kind: GroupVersionKind) => string;
  /** Custom resources use JSON and YAML, without strategic merge patch; their paths list fewer parameters, and no watches. */
  readonly encodings?: 'built-in' | 'custom';
  /** The kind of lists. Default: kind + 'List'. */
  readonly listKind?: string;
}

const metaV1 = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const style = { openapi: 3 } as const;

const mediaTypes = {
  'built-in': {
    object: [
      'application/cbor',
      'application/json',
      'application/vnd.kubernetes.protobuf',
      'application/yaml',
    ],
    stream: [
      'application/cbor',
      'application/cbor-seq',
      'application/json',
      'application/json;stream=watch',
      'application/vnd.kubernetes.protobuf',
      'application/vnd.kubernetes.protobuf;stream=watch',
      'application/yaml',
    ],
    patch: [
      'application/apply-patch+cbor',
      'application/apply-patch+yaml',
      'application/json-patch+json',
      'application/merge-patch+json',
      'application/strategic-merge-patch+json',
    ],
  },
  custom: {
    object: ['application/json', 'application/yaml'],
    stream: ['application/json', 'application/yaml'],
    patch: ['application/apply-patch+yaml', 'application/json-patch+json', 'application/merge-patch+json'],
  },
} as const;

const query =
  (type: string) =>
  (name: string): Parameter => ({
    name,
    in: 'query',
    description: describeParameter(name),
    schema: { type, uniqueItems: true },
  });
const inPath = (name: string): Parameter => ({
  name,
  in: 'path',
  description: describeParameter(name),
  required: true,
  schema: { type: 'string', uniqueItems: true },
});

const parameterTypes: Readonly<Record<string, string>> = {
  allowWatchBookmarks: 'boolean',
  watch: 'boolean',
  sendInitialEvents: 'boolean',
  force: 'boolean',
  orphanDependents: 'boolean',
  ignoreStoreReadErrorWithClusterBreakingPotential: 'boolean',
  limit: 'integer',
  timeoutSeconds: 'integer',
  gracePeriodSeconds: 'integer',
};
const named = (...names: string[]): Parameter[] =>
  names.map((name) => query(parameterTypes[name] ?? 'string')(name));

const listParameters = named(
  'allowWatchBookmarks',
  'continue',
  'fieldSelector',
  'labelSelector',
  'limit',
  'resourceVersion',
  'resourceVersionMatch',
  'sendInitialEvents',
  'shardSelector',
  'timeoutSeconds',
  'watch',
);
const writeParameters = named('dryRun', 'fieldManager', 'fieldValidation');
const deleteParameters = named(
  'dryRun',
  'gracePeriodSeconds',
  'ignoreStoreReadErrorWithClusterBreakingPotential',
  'orphanDependents',
  'propagationPolicy',
);
const parametersOf: Readonly<Record<string, readonly Parameter[]>> = {
  get: [],
  list: listParameters,
  watch: listParameters,
  watchlist: listParameters,
  post: writeParameters,
  put: writeParameters,
  patch: [...writeParameters, ...named('force')],
  delete: deleteParameters,
  connect: [],
  deletecollection: [
    ...deleteParameters,
    ...listParameters.filter(({ name }) => name !== 'allowWatchBookmarks' && name !== 'watch'),
  ],
};
/** Where those of custom resources differ. */
const customParametersOf: Readonly<Record<string, readonly Parameter[]>> = {
  get: named('resourceVersion'),
  deletecollection: listParameters,
};
const customCodesOf: Readonly<Record<string, readonly string[]>> = { patch: ['200'] };
const codesOf: Readonly<Record<string, readonly string[]>> = {
  post: ['200', '201', '202'],
  put: ['200', '201'],
  patch: ['200', '201'],
  delete: ['200', '202'],
};
const codeTexts: Readonly<Record<string, string>> = {
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  401: 'Unauthorized',
};

/** Every path of the resource; watch paths, long deprecated, are listed as upstream lists them. */
export function resourcePaths(facts: ResourceFacts, options: PathOptions): Paths {
  return new ResourcePaths(facts, options).build();
}

/** 'AppsV1', 'RbacAuthorizationV1', 'CoreV1'. */
export function operationPrefix({ group, version }: GroupVersion): string {
  return groupName(group) + upperFirst(version);
}

export function groupName(group: string): string {
  return group === ''
    ? 'Core'
    : group
        .replace(/\.k8s\.io$/, '')
        .split(/[.-]/)
        .map(upperFirst)
        .join('');
}

/** 'apps_v1', 'rbacAuthorization_v1'. */
export function computeTag({ group, version }: { group: string; version?: string }): string {
  const name = groupName(group);
  return name[0]!.toLowerCase() + name.slice(1) + (version === undefined ? '' : `_${version}`);
}

export function groupVersionPath({ group, version }: GroupVersion): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

function upperFirst(text: string): string {
  return text === '' ? '' : text[0]!.toUpperCase() + text.slice(1);
}

class ResourcePaths {
  readonly #facts: ResourceFacts;
  readonly #options: PathOptions;
  readonly #media: {
    readonly object: readonly string[];
    readonly stream: readonly string[];
    readonly patch: readonly string[];
  };
  readonly #kind: GroupVersionKind;
  readonly #definition: string;
  /** 'AppsV1' + 'Namespaced' + 'Deployment' in parts. */
  readonly #prefix: string;
  readonly #scope: string;
  readonly #isCustom: boolean;

  constructor(facts: ResourceFacts, options: PathOptions) {
    this.#isCustom = options.encodings === 'custom';
    this.#facts = facts;
    this.#options = options;
    this.#media = mediaTypes[options.encodings ?? 'built-in'];
    this.#kind = { group: facts.group, version: facts.version, kind: facts.kind };
    this.#definition = options.definitionOf(this.#kind);
    this.#prefix = operationPrefix(facts);
    this.#scope = facts.namespaced ? 'Namespaced' : '';
  }

  build(): Paths {
    const { group, version, plural, namespaced, verbs, subresources = [] } = this.#facts;
    const root = `/${groupVersionPath({ group, version })}`;
    const scope = namespaced ? 'namespaces/{namespace}/' : '';
    const collection = `${root}/${scope}${plural}`;
    const object = `${collection}/{name}`;
    const paths: Paths = {};
    this.#add(paths, collection, this.#collectionOperations());
    this.#add(paths, object, this.#objectOperations());
    if (namespaced && verbs.includes('list'))
      this.#add(paths, `${root}/${plural}`, { get: this.#list('ForAllNamespaces') });
    for (const subresource of subresources) this.#addSubresource(paths, object, subresource);
    if (!verbs.includes('watch') || this.#isCustom) return paths;
    if (namespaced)
      this.#add(paths, `${root}/watch/${plural}`, { get: this.#watch('watchlist', 'ListForAllNamespaces') });
    this.#add(paths, `${root}/watch/${scope}${plural}`, { get: this.#watch('watchlist', 'List') });
    this.#add(paths, `${root}/watch/${scope}${plural}/{name}`, { get: this.#watch('watch', '') });
    return paths;
  }

  /** Parameters shared by all operations of a path are listed on the path. */
  #add(paths: Paths, path: string, operations: Record<string, Operation | undefined>): void {
    const present = Object.entries(operations).filter(
      (entry): entry is [string, Operation] => entry[1] !== undefined,
    );
    if (present.length === 0) return;
    const isConnect = present[0]![1]['x-kubernetes-action'] === 'connect';
    const placed = [...path.matchAll(/\{(\w+)\}/g)].map((match) => inPath(match[1]!));
    const lists = present.map(([, operation]) => [
      ...placed,
      ...(isConnect ? [] : named('pretty')),
      ...(operation.parameters ?? []),
    ]);
    const shared = lists[0]!.filter(({ name, in: place }) =>
      lists.every((list) => list.some((other) => other.name === name && other.in === place)),
    );
    const item: PathItem = {};
    present.forEach(([method, operation], index) => {
      const own = lists[index]!.filter(
        (parameter) =>
          !shared.some(({ name, in: place }) => name === parameter.name && place === parameter.in),
      );
      const { parameters: _, ...rest } = operation;
      item[method] = own.length > 0 ? { ...rest, parameters: own.toSorted(byName) } : rest;
    });
    if (shared.length > 0) item['parameters'] = shared.toSorted(byName);
    paths[path] = item;
  }

  #collectionOperations(): Record<string, Operation | undefined> {
    const { verbs, kind } = this.#facts;
    const status = schemaReference(`${metaV1}.Status`, style);
    return {
      delete: verbs.includes('deletecollection')
        ? this.#operation({
            action: 'deletecollection',
            id: `delete${this.#prefix}Collection${this.#scope}${kind}`,
            answer: status,
            ...(this.#isCustom ? {} : { body: this.#deleteOptions() }),
          })
        : undefined,
      get: verbs.includes('list') ? this.#list('') : undefined,
      post: verbs.includes('create')
        ? this.#operation({
            action: 'post',
            id: this.#id('create'),
            answer: this.#reference(),
            body: this.#body(this.#reference()),
          })
        : undefined,
    };
  }

  #objectOperations(): Record<string, Operation | undefined> {
    const { verbs, returnsDeleted } = this.#facts;
    const answer = this.#reference();
    const deleted = returnsDeleted ? answer : schemaReference(`${metaV1}.Status`, style);
    return {
      delete: verbs.includes('delete')
        ? this.#operation({
            action: 'delete',
            id: this.#id('delete'),
            answer: deleted,
            body: this.#deleteOptions(),
          })
        : undefined,
      ...this.#readAndWrite(verbs, { answer, suffix: '', kind: this.#kind }),
    };
  }

  #readAndWrite(
    verbs: readonly string[],
    { answer, suffix, kind }: { answer: JsonSchema; suffix: string; kind: GroupVersionKind },
  ): Record<string, Operation | undefined> {
    return {
      get: verbs.includes('get')
        ? this.#operation({ action: 'get', id: this.#id('read', suffix), answer, kind })
        : undefined,
      patch: verbs.includes('patch')
        ? this.#operation({
            action: 'patch',
            id: this.#id('patch', suffix),
            answer,
            kind,
            body: this.#patchBody(),
          })
        : undefined,
      post:
        verbs.includes('create') && suffix !== ''
          ? this.#operation({
              action: 'post',
              id: this.#id('create', suffix),
              answer,
              kind,
              body: this.#body(answer),
            })
          : undefined,
      put: verbs.includes('update')
        ? this.#operation({
            action: 'put',
            id: this.#id('replace', suffix),
            answer,
            kind,
            body: this.#body(answer),
          })
        : undefined,
    };
  }

  #addSubresource(paths: Paths, object: string, subresource: SubresourceFacts): void {
    const kind = {
      group: subresource.group ?? this.#kind.group,
      version: subresource.version ?? this.#kind.version,
      kind: subresource.kind,
    };
    const path = `${object}/${subresource.name}`;
    const suffix = upperFirst(subresource.name);
    if (subresource.kind.endsWith('Options')) {
      this.#addConnect(paths, path, { subresource, kind, suffix });
      return;
    }
    if (subresource.name === 'log') {
      this.#add(paths, path, { get: this.#log(kind) });
      return;
    }
    this.#add(
      paths,
      path,
      this.#readAndWrite(subresource.verbs, {
        answer: schemaReference(this.#options.definitionOf(kind), style),
        suffix,
        kind: this.#isCustom ? this.#kind : kind,
      }),
    );
  }

  /** Requests that are handed on: exec, attach, portforward, proxy. Their parameters are the fields of the options kind. */
  #addConnect(
    paths: Paths,
    path: string,
    { subresource, kind, suffix }: { subresource: SubresourceFacts; kind: GroupVersionKind; suffix: string },
  ): void {
    const isProxy = subresource.name === 'proxy';
    const methods = isProxy ? ['delete', 'get', 'head', 'options', 'patch', 'post', 'put'] : ['get', 'post'];
    const parameters = this.#optionParameters(kind);
    const operations = (tail: string): Record<string, Operation> =>
      Object.fromEntries(
        methods.map((method) => [
          method,
          {
            ...this.#describe('connect', kind),
            operationId: `connect${this.#prefix}${upperFirst(method)}${this.#scope}${this.#facts.kind}${suffix}${tail}`,
            parameters,
            responses: {
              200: { description: codeTexts['200']!, content: { '*/*': { schema: { type: 'string' } } } },
              401: { description: codeTexts['401']! },
            },
          },
        ]),
      );
    this.#add(paths, path, operations(''));
    if (isProxy) this.#add(paths, `${path}/{path}`, operations('WithPath'));
  }

  #log(kind: GroupVersionKind): Operation {
    const operation = this.#operation({
      action: 'get',
      id: this.#id('read', 'Log'),
      answer: { type: 'string' },
      kind,
      media: [...this.#media.object, 'text/plain'],
    });
    return {
      ...operation,
      parameters: this.#optionParameters({ ...kind, kind: 'PodLogOptions' }).filter(
        ({ name }) => name !== 'sinceTime',
      ),
    };
  }

  #optionParameters(kind: GroupVersionKind): Parameter[] {
    const fields = findTypeEntry(this.#options.definitionOf(kind))?.f ?? [];
    return fields
      .filter(([name]) => name !== 'apiVersion' && name !== 'kind')
      .map(([name, type]) => {
        const element = type.replace('list:', '');
        return query(element === 'bool' ? 'boolean' : element.startsWith('int') ? 'integer' : 'string')(name);
      });
  }

  #list(tail: string): Operation {
    const scope = tail === '' ? this.#scope : '';
    return this.#operation({
      action: 'list',
      id: `list${this.#prefix}${scope}${this.#facts.kind}${tail}`,
      media: this.#media.stream,
      answer: schemaReference(
        this.#options.definitionOf({
          ...this.#kind,
          kind: this.#options.listKind ?? `${this.#facts.kind}List`,
        }),
        style,
      ),
    });
  }

  #watch(action: 'watch' | 'watchlist', tail: string): Operation {
    const scope = tail === 'ListForAllNamespaces' ? '' : this.#scope;
    return this.#operation({
      action,
      id: `watch${this.#prefix}${scope}${this.#facts.kind}${tail}`,
      answer: schemaReference(`${metaV1}.WatchEvent`, style),
      media: this.#media.stream,
    });
  }

  #operation({
    action,
    id,
    answer,
    body,
    kind = this.#kind,
    media = this.#media.object,
  }: {
    action: string;
    id: string;
    answer: JsonSchema;
    body?: NonNullable<Operation['requestBody']>;
    kind?: GroupVersionKind;
    media?: readonly string[];
  }): Operation {
    const content = Object.fromEntries(media.map((type) => [type, { schema: answer }]));
    const codes = (this.#isCustom ? customCodesOf[action] : undefined) ?? codesOf[action] ?? ['200'];
    return {
      ...this.#describe(action, kind),
      operationId: id,
      parameters: (this.#isCustom ? customParametersOf[action] : undefined) ?? parametersOf[action]!,
      ...(body && { requestBody: body }),
      responses: {
        ...Object.fromEntries(codes.map((code) => [code, { description: codeTexts[code]!, content }])),
        401: { description: codeTexts['401']! },
      },
    };
  }

  #describe(
    action: string,
    kind: GroupVersionKind,
  ): Pick<Operation, 'description' | 'tags' | 'x-kubernetes-action' | 'x-kubernetes-group-version-kind'> {
    return {
      description: describeAction(action, this.#facts.kind),
      tags: [computeTag(this.#facts)],
      'x-kubernetes-action': action,
      'x-kubernetes-group-version-kind': kind,
    };
  }

  #id(verb: string, suffix = ''): string {
    return `${verb}${this.#prefix}${this.#scope}${this.#facts.kind}${suffix}`;
  }

  #reference(): JsonSchema {
    return schemaReference(this.#definition, style);
  }

  #body(schema: JsonSchema): NonNullable<Operation['requestBody']> {
    return { content: this.#bodyContent(schema), required: true };
  }

  #deleteOptions(): NonNullable<Operation['requestBody']> {
    return { content: this.#bodyContent(schemaReference(`${metaV1}.DeleteOptions`, style)) };
  }

  #bodyContent(schema: JsonSchema): Content {
    return Object.fromEntries(
      (this.#isCustom ? this.#media.object : ['*/*']).map((type) => [type, { schema }]),
    );
  }

  #patchBody(): NonNullable<Operation['requestBody']> {
    const schema = schemaReference(`${metaV1}.Patch`, style);
    return {
      content: Object.fromEntries(this.#media.patch.map((type) => [type, { schema }])),
      required: true,
    };
  }
}

function byName(left: Parameter, right: Parameter): number {
  return left.name < right.name ? -1 : left.name > right.name ? 1 : left.in < right.in ? -1 : 1;
}

const actionTexts: Readonly<Record<string, string>> = {
  get: 'Reads one',
  list: 'Lists or watches objects of kind',
  watch: 'Watches one object (deprecated: use list with watch and a field selector) of kind',
  watchlist: 'Watches objects (deprecated: use list with watch) of kind',
  post: 'Creates a',
  put: 'Replaces a',
  patch: 'Changes parts of a',
  delete: 'Deletes a',
  deletecollection: 'Deletes all selected objects of kind',
  connect: 'Connects to a',
};

function describeAction(action: string, kind: string): string {
  return `${actionTexts[action]} ${kind}.`;
}
