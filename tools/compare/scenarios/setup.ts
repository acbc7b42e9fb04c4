/** What the others stand on: the run's namespace with a ServiceAccount, since no controller is there to make one. */
import type { RunNames, Scenario } from '../scenario.ts';
import { steps } from '../paths.ts';

export function setup({ namespace }: RunNames): Scenario {
  return {
    name: 'setup',
    area: 'setup',
    steps: [
      steps.post(
        '/api/v1/namespaces',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        { quiet: true },
      ),
      steps.post(
        `/api/v1/namespaces/${namespace}/serviceaccounts`,
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } },
        { quiet: true },
      ),
      steps.post(
        '/api/v1/namespaces/default/serviceaccounts',
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } },
        { quiet: true },
      ),
    ],
  };
}
