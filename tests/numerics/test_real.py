"""Real numbers of any dtype, against plain Python."""

import pytest
import torch

from reportgen.numerics.real import as_floating, as_real

PLAIN = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_numbers_are_returned_as_they_are(dtype: torch.dtype) -> None:
    values = torch.tensor([0, 1, 1]).to(dtype)
    assert as_real(values) is values
    assert as_floating(values).is_floating_point()
    assert as_floating(values).tolist() == [0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.complex32, torch.complex64, torch.complex128])
def test_complex_values_have_magnitudes(dtype: torch.dtype) -> None:
    values = torch.tensor([3 + 4j, -2 + 0j, 60000 + 60000j], dtype=torch.complex64).to(dtype)
    assert as_real(values).tolist() == pytest.approx([abs(value) for value in values.to(torch.complex128).tolist()])


def test_quantised_values_are_dequantised() -> None:
    values = torch.tensor([[-1.0, 0.0], [0.5, 3.0]])
    one = torch.quantize_per_tensor(values, 0.5, 10, torch.quint8)
    each = torch.quantize_per_channel(
        values, torch.tensor([1.0, 0.5]), torch.zeros(2, dtype=torch.int64), 0, torch.qint8
    )
    assert as_real(one).tolist() == as_real(each).tolist() == values.tolist()


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.float8_e4m3fn, torch.float8_e5m2])
def test_what_torch_hardly_computes_with_is_widened(dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, 1.0, 40.0]).to(dtype)
    assert as_real(values).amax().item() == 40
    assert torch.isfinite(as_real(values)).all()
