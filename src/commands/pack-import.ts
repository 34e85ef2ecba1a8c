/** `facet pack import`: makes a pack of a LoRA that was trained with Hugging Face's PEFT. */
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Command, Option } from 'commander'
import { naming } from '../host/file-problem.js'
import { importPeft } from '../pack/peft.js'
import { type PackDtype, writePack } from '../pack/write.js'
import { readNamedFamily } from './ends.js'
import { readLabels } from './labels.js'

interface ImportFlags {
  family: string
  out: string
  config?: string
  labels?: string
  name?: string
  dtype: PackDtype
}

const CONFIG_FILE = 'adapter_config.json'

/**
 * Adds the command.
 *
 * @param guarded runs the work, and ends the command for what is no LoRA of this family, with one problem a line
 */
export function addImport(
  pack: Command,
  guarded: (file: string, command: Command, work: () => Promise<void>) => Promise<void>,
): void {
  pack
    .command('import')
    .description("make a pack of a LoRA trained with Hugging Face's PEFT")
    .argument('<file>', 'adapter_model.safetensors, as PEFT saves it')
    .requiredOption('--family <dir>', 'folder of the family that was built from the same network')
    .requiredOption('--out <file>', 'the pack to write, .safetensors')
    .option('--config <file>', `its configuration (default: ${CONFIG_FILE} beside it)`)
    .option(
      '--labels <file>',
      "labels of the LoRA's classifier: a JSON array, or one label per line (default: numbers)",
    )
    .option('--name <name>', "the pack's name, for people")
    .addOption(new Option('--dtype <dtype>', 'numbers of the pack').choices(['f16', 'f32']).default('f16'))
    .addHelpText(
      'after',
      `
Layers are found by name: the family's slots are called as the network's layers are. Build the family with --rank at
least that of the LoRA, and with --open where the LoRA adapts other layers than a build opens by itself. A classifier in
modules_to_save becomes the pack's head.
Example: facet pack import lora/adapter_model.safetensors --family models/vit --labels pets.txt --out pets.safetensors
         curl -X PUT --data-binary @pets.safetensors -H 'Content-Type: application/octet-stream' \
              localhost:8080/v1/domains/pets`,
    )
    .action(async (file: string, flags: ImportFlags, command: Command) => {
      await guarded(file, command, async () => {
        const config = flags.config ?? join(dirname(file), CONFIG_FILE)
        const { manifest, base } = await readNamedFamily('The family (--family)', flags.family)
        const files = {
          weights: await naming('The LoRA', file, 'Name the adapter_model.safetensors that PEFT saved.', () =>
            readFile(file),
          ),
          config: await naming(
            "The LoRA's configuration",
            config,
            `PEFT saves it as ${CONFIG_FILE} beside the weights; name it with --config.`,
            () => readFile(config, 'utf8'),
          ),
        }
        const made = importPeft(files, manifest, base, {
          ...(flags.labels !== undefined && { labels: await readLabels(flags.labels) }),
          ...(flags.name !== undefined && { name: flags.name }),
        })
        const bytes = writePack(made, manifest, { dtype: flags.dtype })
        await naming('The pack (--out)', flags.out, 'Name a file in a folder that is there.', () =>
          writeFile(flags.out, bytes),
        )
        const head =
          made.head === base.head ? "the base's classifier" : `a classifier of ${made.head?.classes} classes`
        process.stdout.write(
          `${flags.out}: a pack of family ${manifest.name}, ${made.slots.size} of ${manifest.slots.length} slots, ${head}, ${bytes.length.toLocaleString('en')} bytes\n`,
        )
      })
    })
}
