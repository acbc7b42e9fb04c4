/** The stock kubectl, 1.35 and 1.32, against the API server with scheduler, controllers and simulated nodes: what a user types, and what it prints. */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const WEB = `
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, labels: { app: web } }
data: { color: blue, size: "7" }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, labels: { app: web } }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: main
        image: web:1
        ports: [{ containerPort: 8080, name: http }]
        envFrom: [{ configMapRef: { name: settings } }]
---
apiVersion: v1
kind: Service
metadata: { name: web, labels: { app: web } }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
`;

for (const minor of [35, 32] as const) {
  const tools = foreignTools(minor);
  const skip = 'missing' in tools ? tools.missing : false;
  describe(`kubectl 1.${minor}`, { skip }, () => suite('missing' in tools ? '' : tools.kubectl));
}

function suite(kubectl: string): void {
  let cluster: SimulatedCluster;
  let home: string;

  interface Options {
    readonly input?: string;
    readonly env?: Readonly<Record<string, string>>;
  }
  const run = (words: readonly string[], options: Options = {}): Promise<CommandResult> =>
    runCommand([kubectl, ...words], {
      timeoutMs: 60_000,
      ...options,
      env: { KUBECONFIG: cluster.kubeconfig, HOME: home, ...options.env },
    });
  /** What it printed; the command must succeed. */
  const k = async (line: string | readonly string[], options: Options = {}): Promise<string> => {
    const words = typeof line === 'string' ? line.split(' ') : line;
    const { code, stdout, stderr } = await run(words, options);
    assert.equal(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  /** Its complaint; the command must fail. */
  const refused = async (line: string | readonly string[], options: Options = {}): Promise<string> => {
    const words = typeof line === 'string' ? line.split(' ') : line;
    const { code, stdout, stderr } = await run(words, options);
    assert.notEqual(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
    return stderr;
  };

  before(async () => {
    cluster = await startSimulatedCluster();
    home = join(cluster.dir, 'home');
    await mkdir(home);
    await k(['wait', '--for=create', '--timeout=30s', 'serviceaccount/default']);
    await k(['wait', '--for=condition=Ready', '--timeout=30s', 'node', '--all']);
  });
  after(async () => cluster?.stop());

  describe('the cluster', () => {
    it('version, cluster-info and config', async () => {
      assert.match(await k('version'), /Server Version: v1\.36\.0/);
      assert.match(await k('cluster-info'), /control plane.* is running at .*https:\/\/127\.0\.0\.1:/);
      assert.match(await k('config get-contexts -o name'), /^kubernetes-admin@capstan\n$/);
      assert.match(
        await k('config view --minify -o jsonpath={.clusters[0].cluster.server}'),
        new RegExp(cluster.url),
      );
    });

    it('api-resources and api-versions', async () => {
      const resources = await k('api-resources');
      for (const line of [
        /^pods +po +v1 +true +Pod$/m,
        /^deployments +deploy +apps\/v1 +true +Deployment$/m,
        /^clusterroles +rbac\.authorization\.k8s\.io\/v1 +false +ClusterRole$/m,
      ])
        assert.match(resources, line);
      assert.match(await k('api-resources --verbs=list --namespaced -o name'), /^configmaps$/m);
      assert.match(await k('api-resources --categories=all -o name'), /^deployments\.apps$/m);
      const versions = (await k('api-versions')).trim().split('\n');
      for (const version of ['v1', 'apps/v1', 'batch/v1', 'networking.k8s.io/v1', 'storage.k8s.io/v1'])
        assert.ok(versions.includes(version), version);
    });

    it('explain', async () => {
      assert.match(await k('explain deployment.spec.strategy'), /KIND: +Deployment\nVERSION: +v1/);
      assert.match(await k('explain pod.spec.containers.imagePullPolicy'), /FIELD: imagePullPolicy <string>/);
      assert.match(await k('explain service --recursive'), /clusterIP\s+<string>/);
      assert.match(await refused('explain pod.spec.nonsense'), /field "nonsense" does not exist/);
    });

    it('auth whoami and can-i', async () => {
      assert.match(await k('auth whoami'), /Username +kubernetes-admin/);
      assert.equal(await k('auth can-i delete nodes'), 'yes\n');
      assert.match(await k('auth can-i --list'), /\*\.\* +\[\] +\[\] +\[\*\]/);
      const no = await run(['auth', 'can-i', 'delete', 'nodes', '--as=nobody']);
      assert.equal(no.code, 1);
      assert.match(no.stdout, /^no/);
      assert.match(
        await refused('get pods --as=nobody'),
        /pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "default"/,
      );
    });

    it('get nodes, --raw and top', async () => {
      assert.match(await k('get nodes -o wide'), /^node-1 +Ready +<none> +\S+ +v1\.36\.0/m);
      assert.equal(await k('get --raw /readyz'), 'ok');
      assert.match(await k('get --raw /readyz?verbose'), /readyz check passed/);
      assert.match(await k('get --raw /api/v1/nodes/node-1'), /"kind":"Node"/);
      // The first figures come when nodes were asked twice.
      await until('figures of the node', async () =>
        /^node-1 +\d+m/m.test((await run(['top', 'nodes'])).stdout),
      );
      assert.match(await k('top nodes'), /^node-1 +\d+m +\d+% +\d+Mi +\d+%/m);
    });
  });

  describe('a deployment', () => {
    before(async () => {
      await k('create namespace shop');
      await k('config set-context --current --namespace=shop');
    });

    it('diff, apply, and apply again', async () => {
      const diff = await run(['diff', '-f', '-'], { input: WEB });
      assert.equal(diff.code, 1, diff.stderr);
      assert.match(diff.stdout, /\+kind: Deployment/);
      assert.equal(
        await k('apply -f -', { input: WEB }),
        'configmap/settings created\ndeployment.apps/web created\nservice/web created\n',
      );
      assert.equal(
        await k('apply -f -', { input: WEB }),
        'configmap/settings unchanged\ndeployment.apps/web unchanged\nservice/web unchanged\n',
      );
      assert.equal((await run(['diff', '-f', '-'], { input: WEB })).code, 0);
      assert.match(
        await k('rollout status deployment/web --timeout=60s'),
        /deployment "web" successfully rolled out/,
      );
    });

    it('get in every form', async () => {
      assert.match(
        await k('get deployment web'),
        /^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +3\/3 +3 +3 +\S+\n$/,
      );
      assert.match(
        await k('get deploy/web -o wide'),
        /CONTAINERS +IMAGES +SELECTOR\n.* main +web:1 +app=web\n$/,
      );
      const pods = await k('get pods -o wide -l app=web');
      assert.match(pods, /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$/m);
      assert.equal(pods.match(/ 1\/1 +Running +0 .* node-[12] /g)?.length, 3);
      assert.match(await k('get all'), /^deployment\.apps\/web +3\/3/m);
      assert.match(
        await k('get configmap settings -o yaml'),
        /^data:\n {2}color: blue\n {2}size: "7"\nkind: ConfigMap$/m,
      );
      assert.equal(JSON.parse(await k('get svc web -o json')).spec.ports[0].targetPort, 'http');
      assert.equal(await k('get deploy web -o jsonpath={.spec.replicas}'), '3');
      assert.equal(
        await k(['get', 'pods', '-o', 'jsonpath={range .items[*]}{.status.phase}{"\\n"}{end}']),
        'Running\nRunning\nRunning\n',
      );
      assert.match(
        await k('get pods -o custom-columns=NODE:.spec.nodeName --no-headers'),
        /^(node-[12]\n){3}$/,
      );
      assert.match(await k('get pods -o name'), /^(pod\/web-\S+\n){3}$/);
      assert.match(await k('get pods --show-labels --sort-by=.metadata.name'), /app=web,pod-template-hash=/);
      assert.match(await k('get pods -A --field-selector=status.phase=Running'), /^shop +web-/m);
      assert.match(await k('get endpointslices'), /web-\S+ +IPv4 +8080 +/);
      assert.match(await refused('get pod none'), /Error from server \(NotFound\): pods "none" not found/);
      assert.match(await k('get pods -l app=none'), /^$/);
    });

    it('get -w', async () => {
      const watched = run(['get', 'configmap', '-w', '--output-watch-events', '--request-timeout=4s']);
      await new Promise((done) => setTimeout(done, 1_000));
      await k('create configmap seen --from-literal=a=1');
      const { stdout } = await watched;
      assert.match(stdout, /^EVENT +NAME +DATA +AGE$/m);
      assert.match(stdout, /^ADDED +settings +2 /m);
      assert.match(stdout, /^ADDED +seen +1 /m);
    });

    it('describe', async () => {
      const described = await k('describe deployment web');
      assert.match(
        described,
        /^Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable$/m,
      );
      assert.match(described, /ScalingReplicaSet .*Scaled up replica set web-\S+ from 0 to 3/);
      const pod = await k('describe pods -l app=web');
      assert.match(pod, /Successfully assigned shop\/web-\S+ to node-[12]/);
      assert.match(await k('describe service web'), /^Endpoints: +\d+\.\d+\.\d+\.\d+:8080,/m);
      assert.match(await k('describe node node-1'), /^Non-terminated Pods:/m);
      assert.match(await k('describe configmap settings'), /^color:\n----\nblue$/m);
      assert.match(await k('describe namespace shop'), /^Status: +Active$/m);
    });

    it('events', async () => {
      assert.match(
        await k('events --for deployment/web'),
        /ScalingReplicaSet +Deployment\/web +Scaled up replica set/,
      );
      assert.match(
        await k('get events --sort-by=.metadata.creationTimestamp'),
        /SuccessfulCreate +replicaset\/web-/,
      );
    });

    it('label, annotate and the three patches', async () => {
      assert.equal(await k('label configmap settings tier=front'), 'configmap/settings labeled\n');
      assert.match(
        await refused('label configmap settings tier=back'),
        /already has a value \(front\), and --overwrite is false/,
      );
      assert.equal(await k('label configmap settings tier-'), 'configmap/settings unlabeled\n');
      assert.equal(await k('annotate configmap settings note=hello'), 'configmap/settings annotated\n');
      assert.equal(
        await k(['patch', 'configmap', 'settings', '--type=merge', '-p', '{"data":{"color":"red"}}']),
        'configmap/settings patched\n',
      );
      await k([
        'patch',
        'configmap',
        'settings',
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/data/size","value":"8"}]',
      ]);
      await k([
        'patch',
        'deployment',
        'web',
        '-p',
        '{"spec":{"template":{"spec":{"containers":[{"name":"main","imagePullPolicy":"IfNotPresent"}]}}}}',
      ]);
      assert.equal(
        await k('get configmap settings -o jsonpath={.data.color}{.data.size}{.metadata.annotations.note}'),
        'red8hello',
      );
      assert.equal(await k('get deploy web -o jsonpath={.spec.template.spec.containers[*].image}'), 'web:1');
      assert.match(
        await refused(['patch', 'deployment', 'web', '-p', '{"spec":{"replicas":"many"}}']),
        /replicas/,
      );
    });

    it('edit', async () => {
      const editor = join(home, 'editor');
      await writeFile(editor, '#!/bin/sh\nsed -i \'s/color: red/color: green/\' "$1"\n');
      await chmod(editor, 0o755);
      assert.equal(
        await k('edit configmap settings', { env: { EDITOR: editor, KUBE_EDITOR: editor } }),
        'configmap/settings edited\n',
      );
      assert.equal(await k('get configmap settings -o jsonpath={.data.color}'), 'green');
    });

    it('scale, set image, set env, and rollouts', async () => {
      assert.equal(await k('scale deployment web --replicas=2'), 'deployment.apps/web scaled\n');
      assert.match(await k('rollout status deployment/web --timeout=60s'), /successfully rolled out/);
      assert.match(
        await refused('scale deployment web --replicas=5 --current-replicas=4'),
        /Expected replicas to be 4, was 2/,
      );
      assert.equal(await k('set image deployment/web main=web:2'), 'deployment.apps/web image updated\n');
      await k('rollout status deployment/web --timeout=60s');
      assert.equal(await k('set env deployment/web MODE=fast'), 'deployment.apps/web env updated\n');
      await k('set resources deployment/web --requests=cpu=10m');
      assert.match(await k('rollout history deployment/web'), /^REVISION +CHANGE-CAUSE\n(\d+ +<none>\n)+/m);
      assert.match(await k('rollout history deployment/web --revision=1'), /Image:\s+web:1/);
      assert.equal(
        await k('rollout undo deployment/web --to-revision=1'),
        'deployment.apps/web rolled back\n',
      );
      await k('rollout status deployment/web --timeout=60s');
      assert.equal(await k('get deploy web -o jsonpath={.spec.template.spec.containers[0].image}'), 'web:1');
      assert.equal(await k('rollout restart deployment/web'), 'deployment.apps/web restarted\n');
      assert.match(await k('rollout status deployment/web --timeout=60s'), /successfully rolled out/);
      assert.equal(await k('rollout pause deployment/web'), 'deployment.apps/web paused\n');
      assert.equal(await k('rollout resume deployment/web'), 'deployment.apps/web resumed\n');
    });

    it('wait, expose, autoscale', async () => {
      assert.match(
        await k('wait --for=condition=Available --timeout=30s deployment/web'),
        /deployment\.apps\/web condition met/,
      );
      assert.match(
        await k(['wait', '--for=jsonpath={.status.readyReplicas}=2', '--timeout=30s', 'deployment/web']),
        /condition met/,
      );
      assert.equal(
        await k('expose deployment web --name=web-np --type=NodePort --port=8080'),
        'service/web-np exposed\n',
      );
      assert.match(await k('get svc web-np'), /NodePort +10\.96\.\d+\.\d+ +<none> +8080:3\d{4}\/TCP/);
      assert.equal(
        await k('autoscale deployment web --min=1 --max=3 --cpu-percent=80'),
        'horizontalpodautoscaler.autoscaling/web autoscaled\n',
      );
      assert.match(await k('get hpa'), /Deployment\/web/);
      assert.match(
        await refused('wait --for=condition=Nonsense --timeout=1s deployment/web'),
        /timed out waiting for the condition/,
      );
    });

    it('apply --server-side, its conflicts, delete', async () => {
      const map = (color: string): string =>
        `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned"},"data":{"color":"${color}"}}`;
      assert.equal(
        await k('apply --server-side --field-manager=one -f -', { input: map('blue') }),
        'configmap/owned serverside-applied\n',
      );
      const conflict = await refused('apply --server-side --field-manager=two -f -', { input: map('red') });
      assert.match(conflict, /Apply failed with 1 conflict: conflict with "one": \.data\.color/);
      await k('apply --server-side --field-manager=two --force-conflicts -f -', { input: map('red') });
      assert.equal(await k('get configmap owned -o jsonpath={.data.color}'), 'red');
      assert.match(
        await k('get configmap owned -o yaml --show-managed-fields'),
        /manager: two\n {4}operation: Apply/,
      );
      assert.equal(
        await k('delete configmap owned'),
        `configmap "owned" deleted${kubectl.includes('1.32') ? '' : ' from shop namespace'}\n`,
      );
    });

    it('replace', async () => {
      const object = JSON.parse(await k('get configmap settings -o json'));
      object.data = { color: 'black' };
      assert.equal(
        await k('replace -f -', { input: JSON.stringify(object) }),
        'configmap/settings replaced\n',
      );
      object.data = { color: 'white' };
      assert.match(
        await refused('replace -f -', { input: JSON.stringify(object) }),
        /the object has been modified; please apply your changes to the latest version and try again/,
      );
      assert.match(
        await k('replace --force -f -', {
          input:
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"color":"grey"}}',
        }),
        /configmap\/settings replaced/,
      );
    });
  });

  describe('one by one', () => {
    it('create of many kinds', async () => {
      const lines: Readonly<Record<string, RegExp>> = {
        'create secret generic pass --from-literal=word=x': /secret\/pass created/,
        'create serviceaccount robot': /serviceaccount\/robot created/,
        'create role reader --verb=get,list --resource=pods':
          /role\.rbac\.authorization\.k8s\.io\/reader created/,
        'create rolebinding robot-reads --role=reader --serviceaccount=shop:robot': /robot-reads created/,
        'create quota limits --hard=pods=20': /resourcequota\/limits created/,
        'create poddisruptionbudget web --selector=app=web --min-available=1':
          /poddisruptionbudget\.policy\/web created/,
        'create priorityclass high --value=1000': /priorityclass\.scheduling\.k8s\.io\/high created/,
        'create ingress web --rule=shop.example/*=web:80': /ingress\.networking\.k8s\.io\/web created/,
        'create service clusterip extra --tcp=5678:8080': /service\/extra created/,
        'create job once --image=once:1': /job\.batch\/once created/,
      };
      for (const [line, says] of Object.entries(lines)) assert.match(await k(line), says);
      assert.match(
        await k(['create', 'cronjob', 'often', '--image=often:1', '--schedule=*/5 * * * *']),
        /cronjob\.batch\/often created/,
      );
      assert.match(
        await refused('create -f -', {
          input: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"}}',
        }),
        /\(AlreadyExists\): .*configmaps "settings" already exists/,
      );
      assert.match(await k('create job once-more --from=cronjob/often'), /job\.batch\/once-more created/);
      assert.match(
        await k('wait --for=condition=complete --timeout=30s job/once job/once-more'),
        /job\.batch\/once condition met/,
      );
      assert.match(await k('describe job once'), /1 Succeeded/);
      for (const kind of [
        'secret',
        'sa',
        'role',
        'rolebinding',
        'quota',
        'pdb',
        'priorityclass',
        'ingress',
        'job',
        'cronjob',
      ])
        assert.match(await k(`get ${kind}`), /^NAME +/, kind);
      assert.match(await k('describe secret pass'), /word: +1 bytes/);
      assert.match(await k('describe quota limits'), /pods +\d+ +20/);
      assert.match(await k('describe ingress web'), /shop\.example/);
      assert.match(await k('describe pdb web'), /Min available: +1/);
    });

    it('create token, and RBAC for its bearer', async () => {
      const token = (await k('create token robot --duration=10m')).trim();
      assert.equal(token.split('.').length, 3);
      const asRobot = [
        '--token',
        token,
        '--kubeconfig',
        '/dev/null',
        '--server',
        cluster.url,
        '--insecure-skip-tls-verify',
        '-n',
        'shop',
      ];
      assert.match(await k(['get', 'pods', ...asRobot]), /^NAME/);
      assert.match(
        await refused(['get', 'secrets', ...asRobot]),
        /User "system:serviceaccount:shop:robot" cannot list resource "secrets" in API group "" in the namespace "shop"/,
      );
    });

    it('run, wait and delete a pod', async () => {
      assert.equal(await k('run solo --image=solo:1 --labels=app=solo'), 'pod/solo created\n');
      assert.match(await k('wait --for=condition=Ready --timeout=30s pod/solo'), /pod\/solo condition met/);
      assert.match(await k('delete pod solo --wait'), /pod "solo" deleted/);
    });

    it('strict decoding names unknown fields, validation names bad values', async () => {
      const pod = (spec: string): string =>
        `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":${spec}}`;
      assert.match(
        await refused('create -f -', {
          input: pod('{"containers":[{"name":"a","image":"b","colour":"red"}]}'),
        }),
        /strict decoding error: unknown field "spec\.containers\[0\]\.colour"/,
      );
      assert.match(
        await refused('create -f -', { input: pod('{"containers":[]}') }),
        /spec\.containers: Required value/,
      );
      assert.match(
        await refused('create -f -', { input: pod('{"containers":[{"name":"A_b","image":"b"}]}') }),
        /The Pod "bad" is invalid: spec\.containers\[0\]\.name: Invalid value: "A_b"/,
      );
    });

    it('--dry-run=server stores nothing', async () => {
      assert.equal(
        await k('create configmap ghost --from-literal=a=1 --dry-run=server'),
        'configmap/ghost created (server dry run)\n',
      );
      assert.match(await refused('get configmap ghost'), /NotFound/);
    });

    it('rollouts of daemon sets and stateful sets', async () => {
      const template =
        '{"metadata":{"labels":{"app":"set"}},"spec":{"containers":[{"name":"main","image":"set:1"}]}}';
      await k('create -f -', {
        input: `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"every"},"spec":{"selector":{"matchLabels":{"app":"set"}},"template":${template}}}`,
      });
      assert.match(
        await k('rollout status daemonset/every --timeout=60s'),
        /daemon set "every" successfully rolled out/,
      );
      assert.match(await k('get daemonset every'), /^every +2 +2 +2 +2 +2 /m);
      await k('set image daemonset/every main=set:2');
      assert.match(await k('rollout status daemonset/every --timeout=60s'), /successfully rolled out/);
      assert.match(await k('rollout history daemonset/every'), /^2 +<none>$/m);
      await k('rollout undo daemonset/every');
      await k('rollout status daemonset/every --timeout=60s');
      assert.equal(
        await k('get daemonset every -o jsonpath={.spec.template.spec.containers[0].image}'),
        'set:1',
      );
      await k('delete daemonset every');
      const ordered = template.replaceAll('"set"', '"ordered"');
      await k('create -f -', {
        input: `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"ordered"},"spec":{"serviceName":"ordered","replicas":2,"selector":{"matchLabels":{"app":"ordered"}},"template":${ordered}}}`,
      });
      assert.match(
        await k('rollout status statefulset/ordered --timeout=60s'),
        /2 new pods have been updated|rolling update complete/,
      );
      assert.match(await k('get pods -l app=ordered -o name'), /^pod\/ordered-0\npod\/ordered-1\n$/);
      assert.match(await k('scale statefulset ordered --replicas=1'), /scaled/);
      assert.match(await k('wait --for=delete --timeout=30s pod/ordered-1'), /^$|deleted|condition met/);
    });

    it('taint, cordon, drain, uncordon', async () => {
      assert.equal(await k('taint node node-2 dedicated=yes:NoSchedule'), 'node/node-2 tainted\n');
      assert.equal(await k('taint node node-2 dedicated:NoSchedule-'), 'node/node-2 untainted\n');
      assert.equal(await k('cordon node-1'), 'node/node-1 cordoned\n');
      assert.match(await k('get node node-1'), /Ready,SchedulingDisabled/);
      assert.match(await k('drain node-1 --ignore-daemonsets --force --timeout=60s'), /node\/node-1 drained/);
      assert.equal(
        await k('get pods -A --field-selector=spec.nodeName=node-1,status.phase=Running -o name'),
        '',
      );
      assert.equal(await k('uncordon node-1'), 'node/node-1 uncordoned\n');
      await k('rollout status deployment/web --timeout=60s');
    });

    it('says that simulated pods hold nothing to connect to', async () => {
      for (const words of [
        'logs deployment/web',
        'exec deployment/web -- true',
        'port-forward deployment/web 0:80',
        'get --raw /api/v1/nodes/node-1/proxy/healthz',
      ]) {
        assert.match(
          await refused(words),
          /node "node-\d" is simulated: its pods run no containers, so there is nothing to connect to/,
          words,
        );
      }
    });

    it('delete, also by selector, cascading and with a namespace', async () => {
      assert.match(await k('delete deployment web --cascade=orphan'), /deployment\.apps "web" deleted/);
      assert.match(await k('get rs -l app=web -o name'), /replicaset\.apps\/web-/);
      assert.match(await k('delete rs -l app=web --cascade=foreground'), /deleted/);
      assert.equal(await k('get pods -l app=web -o name --field-selector=status.phase=Running'), '');
      assert.match(await k('delete all --all'), /service "web" deleted/);
      assert.equal(await k('delete pod none --ignore-not-found'), '');
      assert.equal(await k('delete namespace shop --timeout=60s'), 'namespace "shop" deleted\n');
      assert.match(await refused('get namespace shop'), /NotFound/);
    });
  });
}
