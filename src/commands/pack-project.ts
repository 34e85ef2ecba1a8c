/** `facet pack project`: makes a pack of a compressed family of one with whole matrices, as a registration does. */
import { readFile, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { finish } from '../concurrency/turns.js'
import { naming } from '../host/file-problem.js'
import { BackboneError } from '../onnx/onnx.js'
import { formSteps, isWhole, projectedSteps } from '../pack/projection.js'
import { readPack } from '../pack/read.js'
import { readNamedFamily } from './ends.js'
import { table } from './table.js'

interface ProjectFlags {
  family: string
  out: string
}

/** @param guarded runs the work, and ends the command for what is no pack of this family, with one problem a line */
export function addProject(
  pack: Command,
  guarded: (file: string, command: Command, work: () => Promise<void>) => Promise<void>,
): void {
  pack
    .command('project')
    .description('make a pack of a compressed family of one with whole matrices, by least squares')
    .argument('<file>', 'a pack of the family that was compressed')
    .requiredOption('--family <dir>', 'folder of the compressed family')
    .requiredOption('--out <file>', 'the pack to write, .safetensors')
    .action(async (file: string, flags: ProjectFlags, command: Command) => {
      await guarded(file, command, async () => {
        const { manifest, bases } = await readNamedFamily('The family (--family)', flags.family)
        if (!bases)
          throw new BackboneError(
            `The family ${manifest.name} is not compressed: it takes packs as they are. facet compress makes a compressed one.`,
          )
        const bytes = await naming('The pack', file, 'Name a pack, a .safetensors file.', () =>
          readFile(file),
        )
        const form = finish(formSteps(bytes))
        const isSource = form?.family === manifest.compressed?.fingerprint
        const fits = isSource || (form?.family === manifest.fingerprint && isWhole(form, manifest))
        // Of another pack the reader says what is wrong with it, or that it is one of this family already.
        if (!form || !fits) {
          readPack(bytes, manifest)
          throw new BackboneError(
            `${file} is a pack of ${manifest.name} already: it has no matrices of its own.`,
          )
        }
        const made = finish(projectedSteps(bytes, form, { manifest, bases }))
        await naming('The pack (--out)', flags.out, 'Name a file in a folder that is there.', () =>
          writeFile(flags.out, made.bytes),
        )
        const rows = made.projection.slots.map(({ slot, error }) => [slot, `${(100 * error).toFixed(1)}%`])
        process.stdout.write(
          `${table([['slot', 'lost of its output'], ...rows])}\n${flags.out}: a pack of family ${manifest.name}, ${made.bytes.length.toLocaleString('en')} bytes of ${bytes.length.toLocaleString('en')}\n`,
        )
      })
    })
}
