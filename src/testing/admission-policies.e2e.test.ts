/** Admission policies as a user of kubectl meets them: applied, refused, warned about, printed, also under server-side apply and dry runs. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { runCommand, type CommandResult } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const VALIDATING = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: replica-limit.example.com }
spec:
  failurePolicy: Fail
  paramKind: { apiVersion: v1, kind: ConfigMap }
  matchConstraints:
    resourceRules:
    - { apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments] }
  variables:
  - { name: limit, expression: "int(params.data.maxReplicas)" }
  validations:
  - expression: object.spec.replicas <= variables.limit
    messageExpression: "'at most ' + string(variables.limit) + ' replicas'"
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: replica-limit-default }
spec:
  policyName: replica-limit.example.com
  validationActions: [Deny]
  paramRef: { name: limits, namespace: default, parameterNotFoundAction: Deny }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: limits }
data: { maxReplicas: "2" }
`;

const MUTATING = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: { name: sidecar.example.com }
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    resourceRules:
    - { apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods] }
  matchConditions:
  - { name: no-sidecar, expression: "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh')" }
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{spec: Object.spec{initContainers: [Object.spec.initContainers{
          name: "mesh", image: "mesh:v1", restartPolicy: "Always"}]}}
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [JSONPatch{op: "add", path: "/metadata/labels", value: {"mesh": "yes"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: { name: sidecar }
spec: { policyName: sidecar.example.com }
`;

const tools = foreignTools(35);
describe('admission policies and kubectl', { skip: 'missing' in tools ? tools.missing : false }, () => {
  let cluster: SimulatedCluster;
  const kubectl = (line: string, input?: string): Promise<CommandResult> =>
    runCommand(['missing' in tools ? '' : tools.kubectl, ...line.split(' ')], {
      timeoutMs: 60_000,
      env: { KUBECONFIG: cluster.kubeconfig },
      input,
    });
  const k = async (line: string, input?: string): Promise<CommandResult> => {
    const result = await kubectl(line, input);
    assert.equal(result.code, 0, `kubectl ${line}\n${result.stdout}${result.stderr}`);
    return result;
  };

  before(async () => {
    cluster = await startSimulatedCluster({ nodes: 0 });
    await k('apply -f -', VALIDATING);
  });
  after(() => cluster.stop());

  it("refuses with the policy's message, by every way of writing", async () => {
    const { code, stderr } = await kubectl('create deployment web --image=web:1 --replicas=3');
    assert.equal(code, 1);
    assert.equal(
      stderr.trim(),
      "error: failed to create deployment: deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'replica-limit.example.com' with binding 'replica-limit-default' denied request: at most 2 replicas",
    );
    await k('create deployment web --image=web:1 --replicas=2');
    assert.match(
      (await kubectl('patch deployment web -p {"spec":{"replicas":5}} --dry-run=server')).stderr,
      /at most 2 replicas/,
    );
    const applied =
      '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":9,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}}}';
    assert.match(
      (await kubectl('apply --server-side --force-conflicts -f -', applied)).stderr,
      /at most 2 replicas/,
    );
    await k('patch configmap limits -p {"data":{"maxReplicas":"9"}}');
    await k('apply --server-side --force-conflicts -f -', applied);
  });

  it('prints policies and bindings, and warns', async () => {
    assert.match(
      (await k('get validatingadmissionpolicies')).stdout,
      /^NAME +VALIDATIONS +PARAMKIND +AGE\nreplica-limit\.example\.com +1 +v1\/ConfigMap +/,
    );
    assert.match(
      (await k('get validatingadmissionpolicybindings')).stdout,
      /replica-limit-default +replica-limit\.example\.com +default\/limits +/,
    );
    await k(
      'patch validatingadmissionpolicybinding replica-limit-default -p {"spec":{"validationActions":["Warn"]}}',
    );
    assert.match((await k('scale deployment web --replicas=9')).stdout, /scaled/);
    assert.match(
      (await k('patch deployment web -p {"spec":{"replicas":11}}')).stderr,
      /Warning: Validation failed for ValidatingAdmissionPolicy 'replica-limit\.example\.com' with binding 'replica-limit-default': at most 9 replicas/,
    );
  });

  it('mutates pods, a restartable sidecar among them', async () => {
    await k('apply -f -', MUTATING);
    await k('create serviceaccount default');
    await k('run single --image=app:1');
    assert.equal(
      (
        await k(
          'get pod single -o jsonpath={.spec.initContainers[*].name}/{.spec.initContainers[*].restartPolicy}/{.metadata.labels.mesh}',
        )
      ).stdout,
      'mesh/Always/yes',
    );
  });
});
