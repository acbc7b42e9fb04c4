/** Shared by both commands: the connection, the parsed question, and the output of a permit. */
import { existsSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { findResource, type AccessQuestion, type Permit } from '#cmd/apiserver/access.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport, loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { dataDir, UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { dataDirOption } from '../context.ts';

export interface QuestionOptions {
  readonly dataDir?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly subresource?: string;
  readonly nonResource?: boolean;
  readonly json?: boolean;
}

export function questionOptions(command: Command): Command {
  return command
    .addOption(new Option('-n, --namespace <name>', "where (default: the context's namespace, else default)"))
    .option('-A, --all-namespaces', 'in all namespaces at once')
    .option('--subresource <name>', 'a part of it, for example log or scale')
    .option('--non-resource', 'the target is a path such as /metrics (a leading / says so too)')
    .addOption(dataDirOption())
    .option(
      '--kubeconfig <file>',
      'whom to ask (default: the kubeconfig of the data directory, else $KUBECONFIG)',
    )
    .option('--context <name>', 'a context of the kubeconfig')
    .option('--json', 'as JSON');
}

interface Asked {
  readonly client: Client;
  readonly question: AccessQuestion;
  /** The resource as it was named is not served here. */ readonly unknown: boolean;
}

/** Opens the client; the caller closes it. */
export async function withQuestion(
  options: QuestionOptions,
  { verb, target }: { readonly verb: string; readonly target: string },
  run: (asked: Asked) => Promise<void>,
): Promise<void> {
  if (options.nonResource && !target.startsWith('/'))
    throw new UserError(`"${target}" is no path; one begins with /, for example /metrics.`);
  const isPath = target.startsWith('/');
  const { path, namespace } = kubeconfigOf(options);
  const client = createClient(createKubeconfigTransport({ path, context: options.context }), {
    userAgent: 'capstan-access',
    timeoutMs: 30_000,
  });
  try {
    if (isPath) return await run({ client, question: { verb, path: target }, unknown: false });
    const [resourceText = '', ...names] = target.split('/');
    const found = await findResource(client, resourceText);
    const { group = '', version = '', resource = resourceText, namespaced = true } = found ?? {};
    const where = !namespaced || options.allNamespaces ? '' : (options.namespace ?? namespace);
    await run({
      client,
      unknown: !found,
      question: {
        verb,
        resource: {
          group,
          version,
          resource,
          subresource: options.subresource ?? '',
          namespaced,
          name: names.join('/'),
          namespace: where,
        },
      },
    });
  } catch (error) {
    if (isStatusError(error, 'Forbidden'))
      throw new UserError(
        `The user of the kubeconfig may not read what this needs: ${errorMessage(error)}`,
        error,
      );
    throw error;
  } finally {
    await client.close();
  }
}

function kubeconfigOf(options: QuestionOptions): {
  readonly path: string | undefined;
  readonly namespace: string;
} {
  let path = options.kubeconfig;
  if (path === undefined && (options.dataDir !== undefined || !process.env['KUBECONFIG'])) {
    const dir = dataDir(options.dataDir);
    if (existsSync(dir.kubeconfig)) path = dir.kubeconfig;
    else if (options.dataDir !== undefined)
      throw new UserError(
        `There is no kubeconfig in ${dir.path}; start a cluster with: capstan up --data-dir ${dir.path}`,
      );
  }
  try {
    return {
      path,
      namespace: resolveContext(loadKubeconfig({ path }), { context: options.context }).namespace,
    };
  } catch (error) {
    throw new UserError(`${errorMessage(error)}.`, error);
  }
}

/** 'get pods/log "x" in namespace "blue"' */
export function describeQuestion({ verb, resource, path }: AccessQuestion): string {
  if (!resource) return `${verb} path ${path}`;
  const what =
    resource.subresource === '' ? resource.resource : `${resource.resource}/${resource.subresource}`;
  const where = !resource.namespaced
    ? 'at cluster scope'
    : resource.namespace === ''
      ? 'in all namespaces'
      : `in namespace ${JSON.stringify(resource.namespace)}`;
  return `${verb} ${what}${resource.group === '' ? '' : ` of ${resource.group}`}${resource.name === '' ? '' : ` ${JSON.stringify(resource.name)}`} ${where}`;
}

/** 'User jane', 'ServiceAccount blue/bot' */
export function describeSubject({ subject, binding }: Permit): string {
  return subject.kind === 'ServiceAccount'
    ? `ServiceAccount ${subject.namespace || binding.namespace}/${subject.name}`
    : `${subject.kind} ${subject.name}`;
}

export function describeBinding({ binding }: Permit): string {
  return `${binding.kind} ${binding.name}${binding.namespace === '' ? '' : ` in namespace ${binding.namespace}`}`;
}

export function describeRole({ role, gatheredFrom }: Permit): string {
  return `${role.kind} ${role.name}${gatheredFrom.length > 0 ? ` (gathered from ${gatheredFrom.join(', ')})` : ''}`;
}

/** 'get,list pods,pods/log of apps, named "a"' */
export function describeRule({ rule }: Permit): string {
  const verbs = (rule.verbs ?? []).join(',');
  if (rule.nonResourceURLs?.length) return `${verbs} paths ${rule.nonResourceURLs.join(',')}`;
  const groups = (rule.apiGroups ?? []).map((group) => (group === '' ? 'core' : group)).join(',');
  return `${verbs} ${(rule.resources ?? []).join(',')} of ${groups}${rule.resourceNames?.length ? `, named ${rule.resourceNames.join(',')}` : ''}`;
}
