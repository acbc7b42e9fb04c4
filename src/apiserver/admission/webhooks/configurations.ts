/**
 * The webhooks of all configurations of one kind, compiled and in calling order: by configuration name, then as listed. Follows the objects; a
 * change applies from the next request on. The webhooks for each kind of request are cached.
 */
import { errorMessage } from '#stdx/log.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { MutatingWebhook, ValidatingWebhook } from '#api/types.ts';
import { WEBHOOK_VARIABLES } from '#resources/admissionregistration/expressions.ts';
import { MatchConditions } from '../expressions.ts';
import type { GroupAndResource } from '../kinds.ts';
import { RequestMatcher } from '../matching.ts';
import type { AdmissionOperation, AdmissionStart } from '../plugin.ts';

type WebhookSpec = ValidatingWebhook & Pick<MutatingWebhook, 'reinvocationPolicy'>;

export interface Hook {
  /** Stays the same when other webhooks come and go: 'configuration/name/n-th of that name'. */
  readonly uid: string;
  readonly configuration: string;
  readonly spec: WebhookSpec;
  readonly matcher: RequestMatcher;
  readonly conditions: MatchConditions;
  readonly failsOpen: boolean;
}

interface Configuration extends KubeObject {
  webhooks?: WebhookSpec[];
}

type ConfigurationResource = 'mutatingwebhookconfigurations' | 'validatingwebhookconfigurations';

type Target = GroupAndResource & { readonly subresource: string };

export class WebhookConfigurations {
  readonly #context: AdmissionStart;
  readonly #byName = new Map<string, readonly Hook[]>();
  /** Made on demand. */
  #all: readonly Hook[] | undefined;
  readonly #bySort = new Map<string, readonly Hook[]>();
  readonly stop: () => void;

  constructor(resource: ConfigurationResource, context: AdmissionStart) {
    this.#context = context;
    const take = (object: KubeObject): void => this.#take(object as Configuration);
    this.stop = context.internal.watch(
      { group: 'admissionregistration.k8s.io', resource },
      {
        added: take,
        updated: take,
        deleted: (object) => {
          this.#byName.delete(object.metadata?.name ?? '');
          this.#changed();
        },
      },
    );
  }

  /** Those that may concern such requests, in order. */
  of(operation: AdmissionOperation, { group, resource, subresource }: Target): readonly Hook[] {
    const key = `${operation} ${group}/${resource}/${subresource}`;
    let found = this.#bySort.get(key);
    if (!found)
      this.#bySort.set(
        key,
        (found = this.all.filter(({ matcher }) =>
          matcher.mayMatch(operation, { group, resource, subresource }, this.#context.kinds),
        )),
      );
    return found;
  }

  /** In order. */
  get all(): readonly Hook[] {
    return (this.#all ??= [...this.#byName]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .flatMap(([, hooks]) => hooks));
  }

  #take({ metadata, webhooks = [] }: Configuration): void {
    const name = metadata?.name ?? '';
    try {
      this.#byName.set(name, compile(name, webhooks));
    } catch (error) {
      // Validation lets nothing through that cannot be compiled; an older version of it may have.
      this.#context.log.error('a webhook configuration cannot be read and is not called', {
        configuration: name,
        error: errorMessage(error),
      });
      this.#byName.delete(name);
    }
    this.#changed();
  }

  #changed(): void {
    this.#all = undefined;
    this.#bySort.clear();
    this.#context.handlesChanged();
  }
}

function compile(configuration: string, webhooks: readonly WebhookSpec[]): Hook[] {
  const seen = new Map<string, number>();
  return webhooks.map((spec) => {
    const nth = seen.get(spec.name) ?? 0;
    seen.set(spec.name, nth + 1);
    return {
      uid: `${configuration}/${spec.name}/${nth}`,
      configuration,
      spec,
      matcher: new RequestMatcher({ ...spec, resourceRules: spec.rules ?? [] }),
      conditions: new MatchConditions(spec.matchConditions ?? [], {
        variables: WEBHOOK_VARIABLES,
        failurePolicy: spec.failurePolicy ?? 'Fail',
      }),
      failsOpen: spec.failurePolicy === 'Ignore',
    };
  });
}
