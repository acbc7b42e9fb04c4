import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, PodSpec } from '#api/types.ts';
import { computePodQOS, podQOS } from './pod-qos.ts';

type List = Record<string, string>;
const container = (limits: List = {}, requests: List = limits): Container => ({
  name: 'c',
  resources: { limits, requests },
});
const qos = (...containers: Container[]): string => computePodQOS({ containers });
const whole = (resources: PodSpec['resources'], ...containers: Container[]): string =>
  computePodQOS({ containers, ...(resources ? { resources } : {}) });

test('by the containers', () => {
  assert.equal(qos(container()), 'BestEffort');
  assert.equal(qos(container({ cpu: '0', memory: '0' })), 'BestEffort');
  assert.equal(qos(container({ 'hugepages-2Mi': '2Mi', 'ephemeral-storage': '1Gi' })), 'BestEffort');
  assert.equal(qos(container({ cpu: '1', memory: '1Gi' })), 'Guaranteed');
  assert.equal(qos(container({ cpu: '1', memory: '1Gi' }, { cpu: '1000m', memory: '1024Mi' })), 'Guaranteed');
  assert.equal(qos(container({ cpu: '1', memory: '1Gi' }, { cpu: '500m' })), 'Burstable');
  assert.equal(qos(container({ cpu: '1', memory: '1Gi' }, {})), 'Burstable');
  assert.equal(qos(container({ cpu: '1', memory: '1Gi' }), container()), 'Burstable');
  assert.equal(qos(container({ cpu: '1' })), 'Burstable');
});

test('pod-level resources replace those of containers, even without cpu and memory', () => {
  const full = { cpu: '1', memory: '1Gi' };
  assert.equal(whole({ limits: full, requests: full }, container()), 'Guaranteed');
  assert.equal(whole({ limits: full, requests: { cpu: '1' } }, container()), 'Burstable');
  assert.equal(whole({ requests: { cpu: '1' } }, container(full)), 'Burstable');
  const pages = { 'hugepages-2Mi': '4Mi' };
  assert.equal(whole({ limits: pages, requests: pages }, container(full)), 'BestEffort');
});

test('the class in the status takes precedence', () => {
  const spec = { containers: [container({ cpu: '1' })] };
  assert.equal(podQOS({ spec, status: { qosClass: 'Guaranteed' } }), 'Guaranteed');
  assert.equal(podQOS({ spec }), 'Burstable');
  assert.equal(podQOS({}), 'BestEffort');
});
