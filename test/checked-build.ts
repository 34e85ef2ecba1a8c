/** Builds a family and runs it against its backbone's file. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { checkFamily } from '../src/commands/family-check.js'
import type { BuildOptions, BuiltFamily } from '../src/compiler/build.js'
import { Control } from './engine-rig.js'
import { build } from './trunk.js'

const control = new Control()
const createWorker = () => control.createWorker()

/**
 * Builds a family, of frozen features unless asked otherwise, and returns it with the largest difference of a feature to
 * the backbone's, relative to the largest feature.
 */
export async function checkedBuild(
  t: Test,
  bytes: Uint8Array,
  changes: Partial<BuildOptions> = {},
): Promise<{ family: BuiltFamily; difference: number }> {
  const family = await build(bytes, { design: 'feature', ...changes })
  const dir = path.join(t.testdir(), 'family')
  mkdirSync(dir, { recursive: true })
  for (const [name, content] of family.files) writeFileSync(path.join(dir, name), content)
  const difference = await checkFamily(dir, { ...family.backbone, bytes }, false, createWorker)
  return { family, difference }
}
