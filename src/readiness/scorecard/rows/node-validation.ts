/** Row: every Node is ready and without pressure. */
import { assessment, count, met, verdictOfShare, type ScorecardRow } from '../row.ts';
import { nodes as check } from '../../checks/nodes.ts';

export const nodeValidation: ScorecardRow = {
  name: 'node-validation',
  topic: 'Worker nodes',
  title: 'Every Node is Ready and without pressure',
  explain:
    'A machine that lacks something (a kernel setting, disk, memory) shows it by the conditions of its Node. join and init check a machine before it becomes a Node, and capstan node check at any time. Met: every Node is Ready and without pressure.',
  async assess(view) {
    const all = await view.nodes();
    const findings = (await check.run(view)).filter(({ severity }) => severity !== 'info');
    const [first] = findings;
    if (all.length === 0)
      return assessment('not met', {
        evidence: ['there is no Node'],
        remedy: 'join one: capstan token create --print-join-command',
      });
    if (!first) return met(`${count(all.length, 'Node')}, all Ready`);
    const ill = new Set(findings.map(({ object }) => object)).size;
    return assessment(verdictOfShare(all.length - ill, all.length), {
      evidence: findings.map(({ object, evidence }) => `${object}: ${evidence}`),
      remedy: first.remedy,
    });
  },
};
