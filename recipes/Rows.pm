# Rows.pm - the rows of the report in the order of its tables: each row's name in files, its title
# in tables and in the figure, and its style of Figure.pm. recipes/reproduce.mk says how each row is
# made and measured.
package Rows;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(rows);

sub rows {
    my ($factor) = @_;
    return (
        [ 'base', 'base', 3 ],
        [ 'base-nf4', 'base, NF4', 7 ],
        [ "interpolated-$factor", 'base + interpolation, untrained', 4 ],
        [ "full-$factor", 'full fine-tuning, S2', 2 ],
        [ "lora-$factor", 'LoRA, S2', 5 ],
        [ "longqlora-$factor", 'LongQLoRA (NF4 + LoRA, S2)', 1 ],
        [ "merged-$factor", 'LongQLoRA merged into the unquantized base', 6 ],
        [ "longqlora-plus-$factor", 'LongQLoRA + embeddings and norms', 0 ],
        [ "scratch-$factor", 'trained at the long context from scratch', 8 ],
        [ 'control', 'control: base trained further at the short context', 9 ],
    );
}

1;
