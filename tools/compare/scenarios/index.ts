/** Every source of scenarios. Add a file, add a line. */
import type { ScenarioSource } from '../scenario.ts';
import { access } from './access.ts';
import { apply } from './apply.ts';
import { customResources } from './custom-resources.ts';
import { documents } from './documents.ts';
import { createMutations, updateMutations } from './field-mutations.ts';
import { lifecycles } from './lifecycles.ts';
import { lists } from './lists.ts';
import { policies } from './policies.ts';
import { subresources } from './subresources.ts';
import { validationRules } from './validation-rules.ts';
import { wire } from './wire.ts';

export const SOURCES: readonly ScenarioSource[] = [
  documents,
  wire,
  lists,
  apply,
  lifecycles,
  subresources,
  customResources,
  validationRules,
  policies,
  access,
  createMutations,
  updateMutations,
];
