/**
 * Composition of authorization: reads the configuration and creates the pipeline's authorizer and RBAC's rule lookup for others.
 *
 *   const authorization = createAuthorization({ internal, modes: ['Node', 'RBAC'], log });     watches start here
 *   await bootstrapPolicy(internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });       default roles, once the store is open
 *   … authorization.authorizer → pipeline and reviews.ts · authorization → createAdmission …
 *   authorization.stop();
 *
 * Authorizers come from modes (flags) or from a file (AuthorizationConfiguration) that is reloaded at run time.
 */
import type { UserInfo } from '#machinery/object.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { createKubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import { AbacAuthorizer, readAbacFile } from './abac.ts';
import { keepAggregated } from './aggregation.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import { allowAll, type Authorizer, type UserRules } from './authorizer.ts';
import type { ConfiguredAuthorizer, WebhookConfiguration } from './configuration.ts';
import { followConfiguration } from './configuration-file.ts';
import { AuthorizationMetrics } from './metrics.ts';
import { AUTHORIZATION_MODES, DEFAULT_MODES, type AuthorizationMode } from './modes.ts';
import { followNodeGraph, NodeGraph } from './node-graph.ts';
import { NodeAuthorizer } from './node.ts';
import { followRbac, RbacIndex } from './rbac-index.ts';
import { RbacAuthorizer } from './rbac.ts';
import { alwaysDeny, privilegedGroup, UnionAuthorizer } from './union.ts';
import { WebhookAuthorizer } from './webhook.ts';

/** Of --authorization-webhook-config-file and its siblings. */
export interface WebhookSettings {
  readonly configFile: string;
  readonly version?: 'v1' | 'v1beta1' | undefined;
  readonly authorizedTtlMs?: number | undefined;
  readonly unauthorizedTtlMs?: number | undefined;
}

export interface AuthorizationSettings {
  /** In order, after the privileged group system:masters. Default Node, RBAC. */
  readonly modes?: readonly string[] | undefined;
  /** Instead of modes and webhook: a file of kind AuthorizationConfiguration. */
  readonly configFile?: string | undefined;
  /** For mode ABAC. */
  readonly policyFile?: string | undefined;
  /** For mode Webhook. */
  readonly webhook?: WebhookSettings | undefined;
}

interface AuthorizationOptions extends AuthorizationSettings {
  readonly internal: InternalApi;
  readonly log?: Logger;
  readonly clock?: Clock;
}

export interface Authorization {
  readonly authorizer: Authorizer;
  /** For escalation checks, which are made whatever the modes are: RBAC may be turned on later. */
  readonly rbac: RbacAuthorizer;
  readonly metrics: AuthorizationMetrics;
  stop(): void;
}

/** Upstream's, for webhooks that flags describe. */
const FLAG_WEBHOOK = {
  name: 'default',
  timeoutMs: 30_000,
  authorizedTtlMs: 300_000,
  unauthorizedTtlMs: 30_000,
} as const;
/** A webhook removed from the configuration may have calls in flight. */
const CLOSE_AFTER_MS = 60_000;

/** Throws an Error that names an unusable mode, file or line. Reads files; the indexes fill from InternalApi's watches at once. */
export function createAuthorization(options: AuthorizationOptions): Authorization {
  const { configFile, log = silentLogger, clock = realClock } = options;
  const metrics = new AuthorizationMetrics();
  const modes = configFile === undefined ? checkModes(options.modes ?? DEFAULT_MODES, options) : [];
  const parts = new Parts(options, { metrics, log, clock });
  try {
    if (configFile !== undefined)
      return followedAuthorization(configFile, { parts, surroundings: { metrics, log, clock } });
    const authorizer = parts.union(
      modes.map((type) => ({
        type,
        name: type === 'Webhook' ? FLAG_WEBHOOK.name : type.toLowerCase(),
        webhook: type === 'Webhook' ? flagWebhook(options.webhook) : undefined,
      })),
    );
    return { authorizer, rbac: parts.rbac, metrics, stop: () => parts.stop() };
  } catch (error) {
    parts.stop();
    throw error;
  }
}

function followedAuthorization(
  configFile: string,
  { parts, surroundings }: { readonly parts: Parts; readonly surroundings: Surroundings },
): Authorization {
  const { metrics, clock } = surroundings;
  const current = new ReplaceableAuthorizer();
  const follower = followConfiguration(configFile, {
    ...surroundings,
    use: (authorizers) => {
      const before = parts.webhooks();
      current.use(parts.union(authorizers));
      if (before.length > 0) clock.after(CLOSE_AFTER_MS, () => parts.close(before));
    },
  });
  return {
    authorizer: current,
    rbac: parts.rbac,
    metrics,
    stop: () => {
      follower.close();
      parts.stop();
    },
  };
}

class ReplaceableAuthorizer implements Authorizer {
  #current: UnionAuthorizer = new UnionAuthorizer([]);

  use(authorizer: UnionAuthorizer): void {
    this.#current = authorizer;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    return this.#current.authorize(attributes);
  }

  rulesFor(user: UserInfo, namespace: string): Promise<UserRules> {
    return this.#current.rulesFor(user, namespace);
  }
}

interface Surroundings {
  readonly metrics: AuthorizationMetrics;
  readonly log: Logger;
  readonly clock: Clock;
}

/** The authorizers: those with state are created once and survive reloads; webhooks are recreated. */
class Parts {
  readonly rbac: RbacAuthorizer;
  readonly #options: AuthorizationOptions;
  readonly #surroundings: Surroundings;
  readonly #stops: (() => void)[];
  readonly #open = new Set<WebhookAuthorizer>();
  #node: NodeAuthorizer | undefined;
  #abac: AbacAuthorizer | undefined;

  constructor(options: AuthorizationOptions, surroundings: Surroundings) {
    this.#options = options;
    this.#surroundings = surroundings;
    const index = new RbacIndex();
    this.rbac = new RbacAuthorizer(index);
    this.#stops = [
      followRbac(index, options.internal),
      keepAggregated({ internal: options.internal, log: surroundings.log }),
    ];
  }

  /** Throws for an unusable configuration; the previous one stays in effect. */
  union(authorizers: readonly ConfiguredAuthorizer[]): UnionAuthorizer {
    const before = new Set(this.#open);
    const made: { readonly one: ConfiguredAuthorizer; readonly authorizer: Authorizer }[] = [];
    try {
      for (const one of authorizers) made.push({ one, authorizer: this.#make(one) });
    } catch (error) {
      this.close([...this.#open].filter((webhook) => !before.has(webhook)));
      throw error;
    }
    return new UnionAuthorizer([
      { authorizer: privilegedGroup },
      ...made.map(({ one, authorizer }) => ({
        authorizer,
        counts: this.#surroundings.metrics.decisionsOf(one),
      })),
    ]);
  }

  #make({ type, name, webhook }: ConfiguredAuthorizer): Authorizer {
    switch (type) {
      case 'RBAC':
        return this.rbac;
      case 'AlwaysAllow':
        return allowAll;
      case 'AlwaysDeny':
        return alwaysDeny;
      case 'Node':
        return (this.#node ??= this.#makeNode());
      case 'ABAC':
        return (this.#abac ??= this.#makeAbac());
      case 'Webhook':
        return this.#makeWebhook(name, webhook);
    }
  }

  #makeNode(): NodeAuthorizer {
    const graph = new NodeGraph();
    this.#stops.push(followNodeGraph(graph, this.#options.internal));
    return new NodeAuthorizer(graph, this.#options.internal);
  }

  #makeAbac(): AbacAuthorizer {
    if (this.#options.policyFile === undefined)
      throw new Error(
        "authorization-mode ABAC's authorization policy file not passed: give --authorization-policy-file",
      );
    return new AbacAuthorizer(readAbacFile(this.#options.policyFile));
  }

  #makeWebhook(name: string, settings: WebhookConfiguration | undefined): WebhookAuthorizer {
    if (!settings)
      throw new Error(
        "authorization-mode Webhook's authorization config file not passed: give --authorization-webhook-config-file",
      );
    const { kubeConfigFile, subjectAccessReviewVersion, ...rest } = settings;
    const { clock } = this.#surroundings;
    const webhook = new WebhookAuthorizer({
      name,
      client: createKubeconfigClient({ file: kubeConfigFile, clock }),
      version: subjectAccessReviewVersion,
      ...rest,
      ...this.#surroundings,
    });
    this.#open.add(webhook);
    return webhook;
  }

  webhooks(): WebhookAuthorizer[] {
    return [...this.#open];
  }

  close(webhooks: readonly WebhookAuthorizer[]): void {
    for (const webhook of webhooks) {
      webhook.close();
      this.#open.delete(webhook);
    }
  }

  stop(): void {
    this.close(this.webhooks());
    for (const stop of this.#stops) stop();
  }
}

function flagWebhook(settings: WebhookSettings | undefined): WebhookConfiguration | undefined {
  return (
    settings && {
      kubeConfigFile: settings.configFile,
      subjectAccessReviewVersion: settings.version ?? 'v1beta1',
      failurePolicy: 'NoOpinion',
      timeoutMs: FLAG_WEBHOOK.timeoutMs,
      matchConditions: undefined,
      authorizedTtlMs: settings.authorizedTtlMs ?? FLAG_WEBHOOK.authorizedTtlMs,
      unauthorizedTtlMs: settings.unauthorizedTtlMs ?? FLAG_WEBHOOK.unauthorizedTtlMs,
    }
  );
}

/** With upstream's messages. */
function checkModes(
  modes: readonly string[],
  { policyFile, webhook }: AuthorizationSettings,
): AuthorizationMode[] {
  if (modes.length === 0) throw new Error('at least one authorization-mode must be passed');
  const known = modes.map((mode) => {
    const found = AUTHORIZATION_MODES.find((candidate) => candidate === mode);
    if (!found)
      throw new Error(
        `authorization-mode ${JSON.stringify(mode)} is not a valid mode; there are ${AUTHORIZATION_MODES.join(', ')}`,
      );
    return found;
  });
  if (new Set(modes).size !== modes.length)
    throw new Error(
      `authorization-mode [${modes.map((mode) => JSON.stringify(mode)).join(' ')}] has mode specified more than once`,
    );
  if (policyFile !== undefined && !known.includes('ABAC'))
    throw new Error('cannot specify --authorization-policy-file without authorization-mode ABAC');
  if (webhook && !known.includes('Webhook'))
    throw new Error('cannot specify --authorization-webhook-config-file without authorization-mode Webhook');
  return known;
}
