/** docs/backbones.md, made of the results. */
import type { TrialResult } from './trial.js'

export type Entry = { network: string; export: string; design: string; torch?: string } & (
  | TrialResult
  | { failed: string }
)

export interface Results {
  /** That the trials were made on. */
  machine: unknown
  /** That their times were measured on. */
  timesOn?: unknown
  trials: Entry[]
}

export function keyOf({ network, export: id, design }: Pick<Entry, 'network' | 'export' | 'design'>): string {
  return `${network}/${id}/${design}`
}

const HEAD = `# Backbones

Networks that people bring, with random weights, exported to ONNX by PyTorch and built into families by
\`facet family build\`. This page is made of \`docs/backbones.json\`, which \`npm run backbones\` writes (it needs
PyTorch; \`--help\` says what it takes). The networks are in \`bench/backbones/networks.py\`, the exports in
\`bench/backbones/export.py\`.

| column | what it says |
|---|---|
| opened | slots of each kind; the default design chooses them, \`feature\` has none |
| share | parameters of a pack without its head, of the trunk's |
| file | largest difference of a feature to the file itself in onnxruntime, of the largest feature |
| alone | the same between a batch of four domains and each sample alone |
| PyTorch | the same between that batch, with random packs in the slots, and the unfolded network in PyTorch, where the formula of a slot stands in place of each layer (\`bench/backbones/oracle.py\`) |
| mixed | time of that batch, over a batch of four images in a plain onnxruntime session of the file, in turn on the same threads: median of nine rounds (\`npm run backbones -- --times\`) |
| one | the same of a batch of four images of one domain |

Exports: \`torchscript\` is \`torch.onnx.export\` as it was before torch 2.9, \`dynamo\` the exporter of torch 2; the number is
the operator set; \`unfolded\` keeps BatchNorms as layers. A dash: not measured.
`

/** The page. */
export function page({ trials, machine, timesOn }: Results): string {
  const networks = [...new Set(trials.map(({ network }) => network))]
  const rows = networks.flatMap((network) =>
    trials
      .filter((entry) => entry.network === network)
      .map((entry) => `| ${[network, entry.export, entry.design, ...cells(entry)].join(' | ')} |`),
  )
  const notes = networks.flatMap((network) => {
    const found = trials.find(
      (entry): entry is Entry & TrialResult => entry.network === network && 'features' in entry,
    )
    return found ? [`- ${network}: ${found.features} features, ${found.featuresAt}`] : []
  })
  return [
    HEAD,
    '| network | export | design | opened | share | file | alone | PyTorch | mixed | one |',
    '|---|---|---|---|--:|--:|--:|--:|--:|--:|',
    ...rows,
    '',
    '## Where the features are',
    '',
    'Of the first export in the table:',
    '',
    ...notes,
    '',
    '## The machine',
    '',
    `Comparisons: \`${JSON.stringify(machine)}\``,
    '',
    `Times: ${timesOn === undefined ? 'not measured' : `\`${JSON.stringify(timesOn)}\``}`,
    '',
  ].join('\n')
}

function cells(entry: Entry): string[] {
  if ('failed' in entry)
    return [entry.failed.replaceAll('|', '/').replaceAll('\n', ' '), '', '', '', '', '', '']
  const { slots, share, backbone, alone, pytorch, ratio } = entry
  const opened = Object.entries(slots).map(([kind, count]) => `${count} ${kind}`)
  return [
    opened.join(', ') || '-',
    opened.length === 0 ? '-' : `${(100 * share).toFixed(1)}%`,
    backbone.toExponential(0),
    alone.toExponential(0),
    pytorch?.toExponential(0) ?? '-',
    ratio?.mixed.toFixed(2) ?? '-',
    ratio?.one.toFixed(2) ?? '-',
  ]
}
