/**
 * Generic code of the API server knows no single resource: what every request passes (http, handlers, the chain of admission, flow control,
 * the watch cache) has no plural of one. Folders whose subject is certain resources write them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { placesOf, type Law } from './law.ts';
import { root } from './sources.ts';

/** Folders about certain resources, and what they are about. */
const ABOUT_RESOURCES: Readonly<Record<string, string>> = {
  registry: 'the hooks of single resources',
  'admission/plugins': 'rules of single resources',
  'admission/policies': 'policies and their bindings',
  'admission/webhooks': 'webhook configurations',
  aggregation: 'APIServices and the Services behind them',
  apiextensions: 'CustomResourceDefinitions',
  authn: 'service accounts, their tokens, bootstrap tokens',
  authz: 'roles, bindings, the graph of nodes',
  bootstrap: 'the objects of a new cluster',
  encryption: 'Secrets and Events have rules of their own',
  'flowcontrol/bootstrap-objects.ts': 'the FlowSchemas of a new cluster',
  'flowcontrol/configuration.ts': 'FlowSchemas and PriorityLevelConfigurations',
  'handlers/connect': 'pods, nodes and Services that are connected to',
  webhooks: 'Services that webhooks are behind',
};
const KNOWS_RESOURCES = new RegExp(`^src/apiserver/(?:${Object.keys(ABOUT_RESOURCES).join('|')})(?:/|$)`);

export const pluralLiterals: Law = {
  name: 'plural-literals',
  about:
    'plurals of resources are written only in the folders of the API server that are about those resources',
  find(sources) {
    const plurals = builtinPlurals();
    const literal = new RegExp(`(?<=['"])(?:${plurals.join('|')})(?=['"])`, 'g');
    return [...sources.values()]
      .filter(
        ({ path, isTest }) => path.startsWith('src/apiserver/') && !KNOWS_RESOURCES.test(path) && !isTest,
      )
      .flatMap((source) => placesOf(source, literal, ([plural]) => `names the resource '${plural}'`));
  },
};

function builtinPlurals(): string[] {
  const text = readFileSync(join(root, 'src/api/generated/refs.ts'), 'utf8');
  return [...new Set([...text.matchAll(/plural: '([a-z]+)'/g)].map(([, plural]) => plural!))].sort();
}
