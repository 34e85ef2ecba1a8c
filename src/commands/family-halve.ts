/** `facet family halve` gives a family graphs that are computed in half precision, for GPUs. */
import { constants, readFileSync } from 'node:fs'
import { copyFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { halfGraphs, withHalf } from '../compiler/half.js'
import type { EngineOptions } from '../engine/engine.js'
import { type Family, MANIFEST_FILE } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { end, readNamedFamily } from './ends.js'
import { checkGraphs, describeCheck } from './family-graphs.js'
import { inStaging } from './new-folder.js'

export function halveCommand(createWorker?: EngineOptions['createWorker']): Command {
  return new Command('halve')
    .description(
      'give a family graphs in half precision, for GPUs (--precision fp16); its packs stay what they are',
    )
    .argument('<dir>', 'folder of the family')
    .action(async (dir: string, _flags: unknown, command: Command) => {
      try {
        const family = await readNamedFamily('The family', dir)
        command.configureOutput().writeOut?.(await halve(family, createWorker))
      } catch (error) {
        end(command, error)
      }
    })
}

/** @returns the report */
async function halve(family: Family, createWorker: EngineOptions['createWorker']): Promise<string> {
  const { dir, manifest } = family
  const made = halfGraphs(manifest, (name) => readFileSync(join(dir, name)))
  return inStaging(dir, async (staging) => {
    for (const name of Object.keys(manifest.files))
      await copyFile(join(dir, name), join(staging, name), constants.COPYFILE_FICLONE)
    for (const [name, bytes] of made.files) await writeFile(join(staging, name), bytes, { flush: true })
    const text = `${JSON.stringify(withHalf(manifest, made), null, 2)}\n`
    await writeFile(join(staging, MANIFEST_FILE), text, { flush: true })
    const checks = await checkGraphs(await readFamily(staging), createWorker)
    // Graphs that the manifest does not list yet are in nobody's way.
    for (const name of [...made.files.keys(), MANIFEST_FILE])
      await rename(join(staging, name), join(dir, name))
    const written = [...made.files].map(
      ([name, { byteLength }]) => `written   ${join(dir, name)} (${byteLength} bytes)`,
    )
    return `${[...checks.map(describeCheck), ...written].join('\n')}\n`
  })
}
